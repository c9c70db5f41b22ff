"""Messages that a delivery took, and what became of them since the last commit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sender_service.store.outbox import OutcomeRow
    from sender_service.store.retries import DeferralRow
    from sender_service.verdicts import Finished, Retry


class PendingMessage(NamedTuple):
    """A message to dispatch next.

    ``attempts`` tries were made before, the first of them at ``first_attempt_time``
    (µs since 1970); ``lost`` if one of those may have reached the recipient;
    ``deferred`` if it has a row in ``deferrals``.
    """

    sequence: int
    address: str
    recipient_key: str
    fields: str
    attempts: int = 0
    lost: bool = False
    first_attempt_time: int | None = None
    deferred: bool = False


@dataclass(slots=True)
class Batch:
    """What was finished since the last commit.

    Attributes:
        outcomes: messages that ended.
        deferrals: messages that wait for another try, or were never tried.
        ended_deferrals: those of ``outcomes`` that have a row in ``deferrals``.
    """

    outcomes: list[OutcomeRow] = field(default_factory=list)
    deferrals: list[DeferralRow] = field(default_factory=list)
    ended_deferrals: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.outcomes) + len(self.deferrals)

    def end(self, message: PendingMessage, finished: Finished) -> None:
        """Add a message that was tried and has its outcome, now."""
        self.outcomes.append(
            (
                message.sequence,
                finished.outcome.value,
                message.attempts + 1,
                finished.code,
                finished.detail,
                finished.provider_message_id,
                time.time_ns() // 1000,
            )
        )
        if message.deferred:
            self.ended_deferrals.append(message.sequence)

    def retry(self, message: PendingMessage, retry: Retry, *, begin_time: int) -> None:
        """Add a message that waits for another try; the last began at ``begin_time`` (µs)."""
        first_time = message.first_attempt_time
        self.deferrals.append(
            (
                message.sequence,
                message.attempts + 1,
                # Never 0, which marks a message that was not tried.
                max(round(retry.delay_seconds * 1_000_000), 1),
                retry.lost,
                begin_time if first_time is None else first_time,
                retry.code,
                retry.detail,
            )
        )

    def requeue(self, message: PendingMessage, *, delay_seconds: float = 0.0) -> None:
        """Add a message that was taken, and of which no try counts."""
        self.deferrals.append(
            (
                message.sequence,
                message.attempts,
                round(delay_seconds * 1_000_000),
                message.lost,
                message.first_attempt_time,
                "",
                "",
            )
        )
