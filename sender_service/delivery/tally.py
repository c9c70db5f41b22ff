"""Counts what becomes of messages at one provider; a scrape reads it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sender_service.domain import Outcome

if TYPE_CHECKING:
    from sender_service.store.batch import Batch
    from sender_service.verdicts import Answer


@dataclass(eq=False, slots=True)
class Tally:
    """Since the start of the process.

    Attributes:
        outcomes: messages whose outcome was written down.
        answers: tries, by what the provider's answer means.
        in_flight: messages that are handed over now.
        requeued: messages that were taken and put back without a try that counts.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    answers: Counter[Answer] = field(default_factory=Counter)
    in_flight: int = 0
    requeued: int = 0

    def written(self, batch: Batch) -> None:
        """Count what a commit wrote down."""
        for number, messages in Counter(row[1] for row in batch.outcomes).items():
            self.outcomes[Outcome(number)] += messages
        self.requeued += sum(row[2] == 0 for row in batch.deferrals)
