"""When messages go to a provider: a circuit breaker, as pure rules.

A breaker that is not closed lets one thing at a time through: first a check, which
connects and logs in and sends nothing; then one message; then everything.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from typing import TYPE_CHECKING

from sender_service.domain import Backoff, ProblemKind
from sender_service.verdicts import Answer, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

#: Waits before a new probe, the first and the longest, seconds.
_UNREACHABLE_WAITS = (1.0, 30.0)
_OTHER_WAITS = (5.0, 300.0)
#: A provider that asks for a longer wait is probed after this one, seconds: what it asked
#: of one message, perhaps by mistake, holds up every campaign, also later ones.
_MAX_ASKED = 3_600.0
#: Most of so many answers in a row must be DEFERRED to open the breaker.
SPAN = 20
_MOST = 0.8
_FEW = 0.2
#: The span grows up to this where a provider defers everybody once.
_MAX_SPAN = SPAN * 1024
#: A provider that was reached before may be unreachable for so long before it needs a
#: person, seconds.
ATTENTION_SECONDS = 300.0

_DEFERS = Fault(ProblemKind.PROVIDER_DEFERS, "the provider defers most messages")
#: What is wrong with a provider that takes messages and does not answer.
SILENT = Fault(ProblemKind.PROVIDER_UNREACHABLE, "the provider takes a message and does not answer")


class Breaker(enum.StrEnum):
    """What a circuit breaker lets through."""

    #: Everything: the provider answers, as far as is known.
    CLOSED = "closed"
    #: Nothing. Left when the wait before the next probe is over.
    OPEN = "open"
    #: A check, then one message at a time, until an answer closes or opens it.
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Whether a provider takes messages, as far as is known.

    Args:
        clock: the time in seconds, which never goes back.
        state: the state to begin with.
        jitter: gives a random number from 0 to 1.

    Attributes:
        state: what is let through.
        checked: HALF_OPEN only: the check was passed, and a message may follow.
        fault: why it was opened; None: it was not, since it was closed last.
        words: the provider's own words about the fault.
        judging: the organisation whose message is being judged; empty: a check is.
        words_concern: the organisation that ``words`` are about; empty: none.
        reached: the provider has answered at least once.
        failures: how often it was opened.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        state: Breaker = Breaker.HALF_OPEN,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self.state = state
        self.checked = False
        self.fault: Fault | None = None
        self.words = ""
        self.judging = self.words_concern = ""
        self.reached = False
        self.failures = 0
        self._since = 0.0
        self._due = 0.0
        self._backoffs: dict[tuple[ProblemKind, bool], Backoff] = {}
        self._span = SPAN
        self._recent: deque[bool] = deque()
        self._deferred = 0

    @property
    def due_seconds(self) -> float:
        """How long an OPEN breaker still waits before it may be half opened."""
        return max(self._due - self._clock(), 0.0)

    @property
    def needs_attention(self) -> bool:
        """True if only a person can end the fault, or it lasts for suspiciously long."""
        if self.fault is None:
            return False
        if self.fault.needs_attention:
            return True
        is_unreachable = self.fault.kind is ProblemKind.PROVIDER_UNREACHABLE
        lasts_long = self._clock() - self._since >= ATTENTION_SECONDS
        return is_unreachable and (not self.reached or lasts_long)

    def open(self, fault: Fault, words: str, *, retry_after_seconds: float | None = None) -> None:
        """Let nothing through for a while, each time for longer.

        Args:
            fault: what is wrong.
            words: the provider's own words.
            retry_after_seconds: how long it asked to be left alone, if it did; an hour counts.
        """
        if self.fault is None:
            self._since = self._clock()
        asked = min(max(retry_after_seconds or 0.0, 0.0), _MAX_ASKED) * (1 + 0.1 * self._jitter())
        self._due = self._clock() + max(self._backoff(fault).next_seconds(), asked)
        self.state, self.checked = Breaker.OPEN, False
        self.fault, self.words = fault, words
        self.words_concern = self.judging
        self.failures += 1
        self._forget_answers()

    def _backoff(self, fault: Fault) -> Backoff:
        """Return the waits of a fault, which grow until the breaker is closed."""
        # A probe whose answer is lost may cost a person the message, one that can't be
        # delivered costs nothing.
        is_cheap = fault.kind is ProblemKind.PROVIDER_UNREACHABLE and fault != SILENT
        key = (fault.kind, is_cheap)
        if key not in self._backoffs:
            first, longest = _UNREACHABLE_WAITS if is_cheap else _OTHER_WAITS
            self._backoffs[key] = Backoff(
                first_seconds=first, max_seconds=longest, jitter=self._jitter
            )
        return self._backoffs[key]

    def half_open(self) -> None:
        """Let a check through, if the wait is over."""
        if self.state is Breaker.OPEN and self.due_seconds == 0:
            self.state, self.checked = Breaker.HALF_OPEN, False

    def pass_check(self) -> None:
        """Let one message at a time through, since the provider lets us in."""
        self.reached = True
        self.checked = self.state is Breaker.HALF_OPEN

    def note(self, *, deferred: bool) -> bool:
        """Count an answer of a CLOSED breaker; True if most of the last ones are deferrals."""
        if len(self._recent) == self._span:
            self._deferred -= self._recent.popleft()
            if self._span > SPAN and self._deferred <= _FEW * self._span:
                self._span = SPAN
                self._forget_answers()
        self._recent.append(deferred)
        self._deferred += deferred
        return deferred and len(self._recent) == self._span and self._mostly_deferred

    @property
    def _mostly_deferred(self) -> bool:
        return self._deferred >= _MOST * self._span

    def open_for_deferrals(self, words: str, *, retry_after_seconds: float | None) -> None:
        """Open since the provider defers most messages."""
        self.open(_DEFERS, words, retry_after_seconds=retry_after_seconds)

    def answer(self, answer: Answer, words: str, *, retry_after_seconds: float | None) -> None:
        """Take the answer to the one message of a HALF_OPEN breaker.

        PROVIDER_FAULT comes with a fault, so it goes to :meth:`open`.
        """
        if self.state is not Breaker.HALF_OPEN:
            return
        kind = None if self.fault is None else self.fault.kind
        match answer, kind:
            case Answer.LOST, _:
                # More messages would share its fate.
                self.open(SILENT, words, retry_after_seconds=retry_after_seconds)
            case (
                Answer.REFUSED | Answer.DEFERRED,
                ProblemKind.PROVIDER_REFUSES,
            ) if self.fault is not None:
                self.open(self.fault, words, retry_after_seconds=retry_after_seconds)
            case Answer.DEFERRED, ProblemKind.PROVIDER_DEFERS:
                self.open_for_deferrals(words, retry_after_seconds=retry_after_seconds)
            case _:
                self.close(was_deferral=kind is ProblemKind.PROVIDER_DEFERS)

    def close(self, *, was_deferral: bool = False) -> None:
        """Let everything through.

        A provider may defer everybody once, as greylisting does. Each time that a
        deferred message passes, more deferrals are needed to open the breaker again, so
        that everybody gets the first try.
        """
        self._span = min(self._span * 2, _MAX_SPAN) if was_deferral else self._span
        self.state, self.checked = Breaker.CLOSED, False
        self.fault, self.words = None, ""
        self._backoffs.clear()
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._recent.clear()
        self._deferred = 0
