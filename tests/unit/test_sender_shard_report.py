"""What a run over a shard did, for its caller, for the log and for a trace."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from sender_service.delivery import shard_report
from sender_service.delivery.shard_report import ShardReport
from sender_service.domain import Outcome
from sender_service.store.batch import Batch, PendingMessage
from sender_service.verdicts import Finished, Retry

_TRIED_ONCE = PendingMessage(1, "ada@example.com", "", "{}", attempts=1)


def test_a_report_counts_what_was_tried() -> None:
    """What waits for another try is deferred; what was taken and put back is neither."""
    report = ShardReport("spring", 7)
    batch = Batch()
    batch.end(_TRIED_ONCE, Finished(Outcome.SENT))
    batch.requeue(_TRIED_ONCE)
    batch.retry(_TRIED_ONCE, Retry(0.0, lost=False), begin_time=1)
    report.note(batch)
    report.note(batch)
    assert report.counts == {"sent": 2, "deferred": 2}


def test_a_report_logs_each_message_once() -> None:
    """The line has what came since the one before; where nothing came, there is none."""
    report = ShardReport("spring", 7)
    batch = Batch()
    batch.end(_TRIED_ONCE, Finished(Outcome.FAILED))
    with capture_logs() as logs:
        report.log()
        for _ in range(2):
            report.note(batch)
            report.log()
    assert [(line["event"], line["shard"], line["failed"]) for line in logs] == [
        ("batch_sent", 7, 1),
        ("batch_sent", 7, 1),
    ]


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [(0.0, 3), (time.monotonic(), 0)],
    ids=["always", "as long as the machine has been up"],
)
def test_a_report_is_logged_now_and_then(
    seconds: float, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with every commit, but for what is logged at the end of a run."""
    monkeypatch.setattr(shard_report, "_LOG_SECONDS", seconds)
    report = ShardReport("spring", 7)
    batch = Batch()
    batch.end(_TRIED_ONCE, Finished(Outcome.SENT))
    with capture_logs() as logs:
        for _ in range(3):
            report.note(batch)
        assert len(logs) == lines
        report.log()
    assert sum(line["sent"] for line in logs) == 3
    assert all(0.0 <= line["seconds"] < 1e6 for line in logs)
