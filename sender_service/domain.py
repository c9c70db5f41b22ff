"""The words and rules of sending, without a database or a network.

Phases, states, outcomes and problems, how often a message is tried, how shards are
cut, how much may be in doubt, and the key that makes a second try safe.
"""

from __future__ import annotations

import enum
import hashlib
import math
import random
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

#: Longest texts of a result, characters; the status service takes no longer ones.
MAX_CODE = 64
MAX_DETAIL = 500
MAX_PROVIDER_MESSAGE_ID = 255


class Phase(enum.StrEnum):
    """How far the delivery of a campaign is; ``GetDeliveryResponse.Phase`` by name."""

    #: Recipients are collected. Left by StartCampaign, which freezes the audience.
    COLLECTING = "COLLECTING"
    #: Frozen and cut into shards, not sealed at the status service yet. Left when
    #: that has answered; after a crash the sender asks again by itself.
    FROZEN = "FROZEN"
    #: Sealed. Left when every message has an outcome and every outcome is
    #: acknowledged.
    STARTED = "STARTED"
    #: Nothing is left to do. Never left.
    FINISHED = "FINISHED"


class State(enum.StrEnum):
    """The state of a campaign at the status service; ``Campaign.State`` by name."""

    DRAFT = "DRAFT"
    SCHEDULED = "SCHEDULED"
    SENDING = "SENDING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """True where an operator, or the last result, closed the campaign for good."""
        return self in {State.COMPLETED, State.CANCELLED}


class ProblemKind(enum.StrEnum):
    """What kind of problem holds a campaign up; ``Problem.Kind`` by name."""

    PROVIDER_UNREACHABLE = "PROVIDER_UNREACHABLE"
    CHANNEL_UNAVAILABLE = "CHANNEL_UNAVAILABLE"
    CONTENT_INVALID = "CONTENT_INVALID"
    START_REFUSED = "START_REFUSED"
    RESULTS_REJECTED = "RESULTS_REJECTED"
    STATUS_SERVICE_UNREACHABLE = "STATUS_SERVICE_UNREACHABLE"
    PROVIDER_REFUSES = "PROVIDER_REFUSES"
    PROVIDER_DEFERS = "PROVIDER_DEFERS"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STATUS_SERVICE_REFUSES = "STATUS_SERVICE_REFUSES"


@dataclass(frozen=True, slots=True)
class Problem:
    """What holds a campaign up; ``Problem`` of the contract field by field.

    Attributes:
        kind: what kind of problem it is.
        summary: a clause for people.
        detail: the other side's own words.
        setting: the setting to correct, as in ``[smtp] password``; empty if none is known.
        provider: the provider concerned; empty if none is.
        since_time: since when.
        needs_attention: true if only a person can solve it.
        deadline_time: no message fails because of it before; None: never, or not known.
    """

    kind: ProblemKind
    summary: str
    detail: str = ""
    setting: str = ""
    provider: str = ""
    since_time: datetime | None = None
    needs_attention: bool = False
    deadline_time: datetime | None = None


class Outcome(enum.IntEnum):
    """What became of a message; ``Result.Outcome`` by number."""

    UNKNOWN = 1
    SKIPPED = 2
    FAILED = 3
    SENT = 4


class Repeat(enum.StrEnum):
    """What StartCampaign does about people who would get a campaign of a family twice."""

    #: The campaign is not started if there are any.
    REFUSE = "REFUSE"
    #: Their messages end as SKIPPED.
    ONLY_NEW = "ONLY_NEW"
    #: They get this one as well.
    AGAIN = "AGAIN"


def family_of(family: str, display_name: str) -> str:
    """Return the family of a campaign as it is stored and compared; empty: it has none.

    That is ``family``, or ``display_name`` where that is empty, in the Unicode form NFC
    and without blanks at its ends. Case counts: two names that differ in it may be two
    things, and a guess that is wrong would keep mail from people.
    """
    for name in (family, display_name):
        if stored := unicodedata.normalize("NFC", name).strip():
            return stored
    return ""


class Guarantee(enum.StrEnum):
    """What may happen to a message whose provider's answer was lost."""

    #: It is never sent again, and ends as UNKNOWN.
    AT_MOST_ONCE = "AT_MOST_ONCE"
    #: It is sent again with the same idempotency key.
    AT_LEAST_ONCE = "AT_LEAST_ONCE"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a message that its provider defers is tried again.

    Attributes:
        deadline_seconds: no try is planned later than this after the first; a longer
            wait is cut to what is left. Infinite where it is not known yet: the schedule
            of a channel has no deadline.
        initial_backoff_seconds: without a schedule, the wait before the second try; doubled
            for each more.
        max_backoff_seconds: without a schedule, the longest wait, but for one that the
            provider asks for.
        max_attempts: how often a message is tried; 0: no limit but the deadline.
        schedule: the waits before the second, third, ... try, seconds; the last one stays.
            Empty: the wait is doubled.
    """

    deadline_seconds: float = math.inf
    initial_backoff_seconds: float = 2.0
    max_backoff_seconds: float = 3600.0
    max_attempts: int = 5
    schedule: tuple[float, ...] = ()

    def wait_seconds(self, attempt: int) -> float:
        """Return the wait after try number ``attempt``, from 1, seconds."""
        if self.schedule:
            return self.schedule[min(attempt, len(self.schedule)) - 1]
        # The exponent is bounded so that no number of tries overflows a float.
        doubled = self.initial_backoff_seconds * 2.0 ** min(attempt - 1, 60)
        return min(doubled, self.max_backoff_seconds)

    def allows(self, *, attempts: int, elapsed_seconds: float) -> bool:
        """Return whether another try may be planned after so many, so long after the first."""
        in_number = not self.max_attempts or attempts < self.max_attempts
        return in_number and elapsed_seconds < self.deadline_seconds


@dataclass(frozen=True, slots=True)
class Policy:
    """What a campaign does about messages that no answer has ended.

    Attributes:
        guarantee: what a lost answer allows.
        retry: when a message is tried again.
    """

    guarantee: Guarantee
    retry: RetryPolicy


def clean(text: str, limit: int) -> str:
    """Return ``text`` as it can be stored and sent: at most ``limit`` characters.

    What is not text (a lone surrogate, NUL) is replaced, since one bad character
    from a provider must not keep a result from being reported.
    """
    if len(text) <= limit and text.isascii() and "\0" not in text:
        return text
    readable = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    return readable[:limit]


def room(*, window: int, in_doubt: int, finished: int) -> int:
    """Return how many messages may be taken, so that at most ``window`` are in doubt.

    Args:
        window: the most that may be in doubt at any committed moment.
        in_doubt: how many are, by the last commit.
        finished: how many of those the coming commit takes out of doubt.
    """
    return max(0, window - (in_doubt - finished))


def cut_shards(total: int, size: int) -> list[tuple[int, int]]:
    """Cut sequences 1..``total`` into ranges of ``size``, both ends included."""
    return [(first, min(first + size - 1, total)) for first in range(1, total + 1, size)]


class MessageKeys:
    """The idempotency keys of one campaign's messages.

    A key depends on the organisation, the campaign, its content and the sequence,
    and on nothing else: it is the same over retries, instances and restarts.
    """

    def __init__(self, *, organisation: str, campaign_id: str, content_digest: str) -> None:
        self._prefix = hashlib.blake2b(digest_size=16, person=b"closeout-message")
        for part in (organisation, campaign_id, content_digest):
            encoded = part.encode()
            # With its length before it, no part can lend bytes to its neighbour.
            self._prefix.update(len(encoded).to_bytes(4, "big"))
            self._prefix.update(encoded)

    def key(self, sequence: int) -> str:
        """Return the key of one message: 32 hexadecimal digits."""
        digest = self._prefix.copy()
        digest.update(sequence.to_bytes(8, "big"))
        return digest.hexdigest()


class Backoff:
    """Growing waits between tries to reach something that is down.

    Args:
        first_seconds: the first wait.
        max_seconds: the longest.
        jitter: gives a random number from 0 to 1.
    """

    def __init__(
        self,
        *,
        first_seconds: float,
        max_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first = first_seconds
        self._max = max_seconds
        self._jitter = jitter
        self._next = first_seconds

    def next_seconds(self) -> float:
        """Return how long to wait now; the next wait is twice as long."""
        wait, self._next = self._next, min(self._next * 2, self._max)
        return wait * (0.75 + 0.25 * self._jitter())

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._next = self._first
