"""Refused results in the log: the first at once, then at most one line a second."""

from __future__ import annotations

from structlog.testing import capture_logs

from status_service.errors import CampaignNotFoundError
from status_service.grpc_api.rejection_log import RejectionLog


def test_b2_one_reporter_can_not_fill_the_log() -> None:
    """A line counts the refusals since the one before it that have none."""
    times = [100.0, 100.1, 100.9, 101.0, 101.5, 103.0]
    clock = iter(times)
    log = RejectionLog(lambda: next(clock))
    with capture_logs() as lines:
        for _ in times:
            log.add("default", "a", CampaignNotFoundError("a"))
    assert [(line["event"], line["unlogged"]) for line in lines] == [
        ("results_rejected", 0),
        ("results_rejected", 2),
        ("results_rejected", 1),
    ]
    assert (lines[0]["campaign_id"], lines[0]["organisation"]) == ("a", "default")
    assert (lines[0]["reason"], lines[0]["log_level"]) == ("CAMPAIGN_NOT_FOUND", "warning")
