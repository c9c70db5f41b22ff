"""What becomes of messages at a provider, as its metrics show it."""

from __future__ import annotations

from sender_service.delivery.tally import Tally
from sender_service.domain import Outcome
from sender_service.store.batch import Batch, PendingMessage
from sender_service.verdicts import Finished, Retry

_MESSAGE = PendingMessage(1, "ada@example.com", "", "{}")


def test_each_commit_adds_to_what_is_counted() -> None:
    """Messages by outcome, and those that were put back; one that waits for a retry is neither."""
    tally = Tally()
    batch = Batch()
    for outcome in (Outcome.SENT, Outcome.SENT, Outcome.FAILED):
        batch.end(_MESSAGE, Finished(outcome))
    batch.requeue(_MESSAGE)
    batch.retry(_MESSAGE, Retry(0.0, lost=False), begin_time=1)
    for _ in range(2):
        tally.written(batch)
    assert tally.outcomes == {Outcome.SENT: 4, Outcome.FAILED: 2}
    assert tally.requeued == 2


def test_a_process_has_done_nothing_when_it_begins() -> None:
    """A gauge that began above zero would show messages that nobody has."""
    tally = Tally()
    assert (tally.in_flight, tally.requeued) == (0, 0)
    assert not tally.outcomes
    assert not tally.answers
