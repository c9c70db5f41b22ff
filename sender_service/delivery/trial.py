"""The first answers to a campaign: whether its people are refused, or the sender is.

Pure rules. A provider that takes nobody of a campaign may refuse the sender, in words
that look like a verdict on each recipient. So the first refusals of a campaign wait
until enough answers are known.
"""

from __future__ import annotations

import enum

#: So many messages of a campaign are tried before a refusal counts, if none is accepted.
FIRST_MESSAGES = 20
#: How long a refused message waits for its second try, seconds; doubled for each more.
_FIRST_HOLD_SECONDS = 3.0
_MAX_DOUBLINGS = 6


class Refusal(enum.Enum):
    """What a refusal of a message means."""

    #: It is the message's outcome.
    FINAL = "final"
    #: It is too early to know: the message waits for a second try.
    EARLY = "early"
    #: The provider refuses everybody of the campaign.
    EVERYBODY = "everybody"


class Trial:
    """What the first answers to a campaign were, in this process.

    Args:
        remaining: how many messages of the campaign have no outcome.

    Attributes:
        is_over: True once a refusal counts.
    """

    def __init__(self, remaining: int) -> None:
        self._enough = min(FIRST_MESSAGES, remaining)
        self._refusals: dict[int, int] = {}
        self._others: set[int] = set()
        self.is_over = False

    def accept(self) -> None:
        """End the trial: the provider does not refuse everybody of this campaign."""
        self.is_over = True
        self._refusals.clear()
        self._others.clear()

    def note_other(self, sequence: int) -> None:
        """Take an answer that neither accepts nor refuses a message."""
        if self.is_over:
            return
        self._others.add(sequence)
        self._refusals.pop(sequence, None)
        if len(self._others) >= FIRST_MESSAGES:
            self.accept()

    def run_out(self) -> None:
        """Expect no more messages: all that are left were tried, or wait for another try."""
        self._enough = min(self._enough, len(self._refusals) + len(self._others))

    def refuse(self, sequence: int) -> Refusal:
        """Take the refusal of a message."""
        if self.is_over:
            return Refusal.FINAL
        self._refusals[sequence] = self._refusals.get(sequence, 0) + 1
        self._others.discard(sequence)
        refused = len(self._refusals)
        if refused + len(self._others) < self._enough:
            return Refusal.EARLY
        if refused >= FIRST_MESSAGES:
            self._refusals.clear()
            return Refusal.EVERYBODY
        self.accept()
        return Refusal.FINAL

    def hold_seconds(self, sequence: int) -> float:
        """Return how long a message whose refusal is EARLY waits for its next try.

        Longer each time, so that a slow provider gets to the others.
        """
        doublings = min(self._refusals[sequence] - 1, _MAX_DOUBLINGS)
        return float(_FIRST_HOLD_SECONDS * 2**doublings)
