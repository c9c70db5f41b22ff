"""The log of a change of state: see docs/operations.md."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from status_service.domain import Cause, Counters, State
from status_service.recording.transitions import log_state_change
from status_service.recording.types import CampaignKey, Change


def logged(state: State) -> list[str]:
    """Return the events that are logged of a campaign that came into a state."""
    change = Change(CampaignKey("shop", "spring"), state, 10, Counters(4, 3, 2, 1), 7)
    with capture_logs() as logs:
        log_state_change(change, before=State.SENDING, cause=Cause.RESULT, actor="sender-1")
    assert {(line["organisation"], line["campaign_id"]) for line in logs} == {("shop", "spring")}
    for line in logs:
        if line["event"] == "campaign_fully_processed":
            counts = [line[name] for name in ("total", "sent", "failed", "skipped", "unknown")]
            assert counts == [10, 4, 3, 2, 1]
    return [line["event"] for line in logs]


def test_of_a_completed_campaign_all_counts_are_logged() -> None:
    """Whoever reads the log alone knows how it ended."""
    assert logged(State.COMPLETED) == ["campaign_fully_processed", "campaign_state_changed"]


@pytest.mark.parametrize("state", sorted(set(State) - {State.COMPLETED}))
def test_no_other_campaign_is_logged_as_fully_processed(state: State) -> None:
    """The line is what a monitoring counts: it means that each message has a result."""
    assert logged(state) == ["campaign_state_changed"]
