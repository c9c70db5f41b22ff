"""What a commit writes down of messages that were tried, or put back."""

from __future__ import annotations

from dataclasses import replace

from sender_service.domain import Outcome
from sender_service.store.batch import Batch, PendingMessage
from sender_service.verdicts import Finished, Retry

_NEW = PendingMessage(7, "ada@example.com", "", "{}")
_TRIED = _NEW._replace(attempts=2, lost=True, first_attempt_time=1_000, deferred=True)
_RETRY = Retry(1.5, lost=False, code="451", detail="later")


def test_the_first_try_of_a_message_is_kept() -> None:
    """Its deadline counts from there, however often it is tried after that."""
    batch = Batch()
    batch.retry(_NEW, _RETRY, begin_time=5_000)
    batch.retry(_TRIED, _RETRY, begin_time=5_000)
    assert batch.deferrals == [
        (7, 1, 1_500_000, False, 5_000, "451", "later"),
        (7, 3, 1_500_000, False, 1_000, "451", "later"),
    ]


def test_a_retry_at_once_is_not_taken_for_no_try() -> None:
    """A delay of 0 marks a message that was put back untried."""
    batch = Batch()
    batch.retry(_NEW, replace(_RETRY, delay_seconds=0.0), begin_time=5_000)
    assert batch.deferrals[0][2] == 1


def test_a_message_that_is_put_back_stays_as_it_was() -> None:
    """No try counts, and what is known of earlier ones is kept."""
    batch = Batch()
    batch.requeue(_NEW)
    batch.requeue(_TRIED, delay_seconds=2.0)
    assert batch.deferrals == [
        (7, 0, 0, False, None, "", ""),
        (7, 2, 2_000_000, True, 1_000, "", ""),
    ]


def test_an_outcome_counts_its_try_and_ends_the_wait() -> None:
    """Only a message that waited has a row to remove."""
    batch = Batch()
    batch.end(_NEW, Finished(Outcome.SENT, "250"))
    batch.end(_TRIED, Finished(Outcome.FAILED, "550"))
    assert [row[:4] for row in batch.outcomes] == [
        (7, Outcome.SENT.value, 1, "250"),
        (7, Outcome.FAILED.value, 3, "550"),
    ]
    assert batch.ended_deferrals == [7]
    assert len(batch) == 2
