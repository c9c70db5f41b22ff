"""The rules of campaigns, without a database: states, outcomes, diagnosis.

The words and the diagram are in docs/states.md. Nothing here imports anything but
the standard library, and everything else derives from what is here: the guard of
an UPDATE is made of :data:`ALLOWED`, the merge of the ledger is :class:`Outcome`'s
order.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple


class State(enum.StrEnum):
    """Where a campaign stands."""

    #: Registered; its audience is being collected. Left by start or cancel.
    DRAFT = "DRAFT"
    #: Sealed, to start later. Left when it is due, by start or by cancel.
    SCHEDULED = "SCHEDULED"
    #: Sealed, results come in. Left by its last result, by pause or by cancel.
    SENDING = "SENDING"
    #: Sealed, no new message goes out. Left by resume, by cancel, or by the last
    #: result of what was in flight.
    PAUSED = "PAUSED"
    #: Every message has a result. Never left.
    COMPLETED = "COMPLETED"
    #: Ended by its owner. Never left.
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """True where nothing follows."""
        return self in TERMINAL


#: Every change of state there is, as (from, to).
ALLOWED: frozenset[tuple[State, State]] = frozenset(
    {
        (State.DRAFT, State.SCHEDULED),
        (State.DRAFT, State.SENDING),
        (State.DRAFT, State.CANCELLED),
        (State.SCHEDULED, State.SENDING),
        (State.SCHEDULED, State.CANCELLED),
        (State.SENDING, State.PAUSED),
        (State.SENDING, State.COMPLETED),
        (State.SENDING, State.CANCELLED),
        (State.PAUSED, State.SENDING),
        (State.PAUSED, State.COMPLETED),
        (State.PAUSED, State.CANCELLED),
    }
)
TERMINAL = frozenset({State.COMPLETED, State.CANCELLED})
#: States in which a campaign can be stuck.
OPEN = frozenset({State.SENDING, State.PAUSED})


def sources(target: State) -> list[State]:
    """Return the states from which ``target`` can be entered, in order of name."""
    return sorted(source for source, entered in ALLOWED if entered is target)


class Start(enum.Enum):
    """What StartCampaign does with a campaign."""

    #: It is scheduled or started as the caller wishes already.
    NOTHING = enum.auto()
    #: It is SENDING from now on.
    NOW = enum.auto()
    #: It is SCHEDULED from now on.
    LATER = enum.auto()
    #: It stays SCHEDULED, for another time.
    MOVED = enum.auto()
    #: Refused: the time is past, and not the one it was started with.
    TOO_LATE = enum.auto()
    #: Refused: it is CANCELLED.
    CANCELLED = enum.auto()
    #: Refused: it is sealed with another total.
    OTHER_TOTAL = enum.auto()
    #: Refused: it has started, and not by this time.
    OTHER_TIME = enum.auto()


#: So far past, a time to start at counts as now: it takes a while to ask for it.
START_TOLERANCE = timedelta(minutes=1)


def decide_start(
    *,
    state: State,
    same_total: bool,
    schedule_time: datetime | None,
    start_time: datetime | None,
    start_now: bool,
    now: datetime,
) -> Start:
    """Return what StartCampaign does.

    A call that is repeated never sends a scheduled campaign early: only ``start_now``,
    or a time that has come, does.

    Args:
        state: the state of the campaign.
        same_total: it is not sealed, or with the total that is requested.
        schedule_time: the time to start at that was requested last, if one was.
        start_time: the time to start at that is requested; None: none is.
        start_now: to start a scheduled campaign at once is requested.
        now: the database's time.
    """
    other_time = start_time is not None and start_time != schedule_time
    if start_time is not None and other_time and start_time < now - START_TOLERANCE:
        return Start.TOO_LATE
    if state is State.CANCELLED:
        return Start.CANCELLED
    if not same_total:
        return Start.OTHER_TOTAL
    waits = state is State.DRAFT or (state is State.SCHEDULED and (other_time or start_now))
    if waits and start_time is not None and start_time > now:
        return Start.LATER if state is State.DRAFT else Start.MOVED
    if waits:
        return Start.NOW
    has_started = state is not State.SCHEDULED
    return Start.OTHER_TIME if has_started and other_time else Start.NOTHING


class Outcome(enum.IntEnum):
    """What became of a message. The number is the rank: the higher outcome stays.

    ``max`` of ranks is commutative, associative and idempotent, so results may be
    repeated, reordered, split and replayed at will.
    """

    UNKNOWN = 1
    SKIPPED = 2
    FAILED = 3
    SENT = 4


class Cause(enum.StrEnum):
    """What made a campaign change its state."""

    RESULT = "RESULT"
    SEAL = "SEAL"
    MANUAL = "MANUAL"
    RECONCILE = "RECONCILE"
    USER = "USER"
    SCHEDULE = "SCHEDULE"


@dataclass(frozen=True, slots=True)
class Counters:
    """How many messages of a campaign have each outcome."""

    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0

    @property
    def processed(self) -> int:
        """How many messages have an outcome."""
        return self.sent + self.failed + self.skipped + self.unknown

    @classmethod
    def of(cls, by_outcome: dict[int, int]) -> Counters:
        """Return the counters for numbers by outcome."""
        return cls(
            sent=by_outcome.get(Outcome.SENT, 0),
            failed=by_outcome.get(Outcome.FAILED, 0),
            skipped=by_outcome.get(Outcome.SKIPPED, 0),
            unknown=by_outcome.get(Outcome.UNKNOWN, 0),
        )

    def plus(self, other: Counters) -> Counters:
        """Return the sum of both."""
        return Counters(
            sent=self.sent + other.sent,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            unknown=self.unknown + other.unknown,
        )

    def minus(self, other: Counters) -> Counters:
        """Return what must be added to ``other`` to get this."""
        return Counters(
            sent=self.sent - other.sent,
            failed=self.failed - other.failed,
            skipped=self.skipped - other.skipped,
            unknown=self.unknown - other.unknown,
        )


#: From this part of its results on, a campaign fails often; beneath it, it does not.
_OFTEN = 0.1
#: So few results say nothing about a campaign.
_FEW_RESULTS = 100


def fails_often(counters: Counters, *, part: float = _OFTEN) -> bool:
    """Return whether a tenth of a campaign's results, of 100 or more, failed or are in doubt.

    Args:
        counters: of the campaign.
        part: another part than a tenth.
    """
    bad = counters.failed + counters.unknown
    return counters.processed >= _FEW_RESULTS and bad >= part * counters.processed


class Problem(NamedTuple):
    """What holds a sender up; ``Problem`` of the contract field by field.

    ``kind`` is its number there, which this version may not know. Times are microseconds
    since 1970; None: not known.
    """

    kind: int
    summary: str = ""
    detail: str = ""
    setting: str = ""
    provider: str = ""
    since_time: int | None = None
    needs_attention: bool = False
    deadline_time: int | None = None


class Diagnosis(enum.StrEnum):
    """What is the matter with a campaign that is open."""

    #: Every message has a result, but the campaign is still open: a defect, repaired.
    FULLY_PROCESSED = "FULLY_PROCESSED"
    #: The counters differ from the results: a defect, recounted.
    COUNTER_DRIFT = "COUNTER_DRIFT"
    #: Results came in lately.
    IN_PROGRESS = "IN_PROGRESS"
    #: No new result for longer than the threshold.
    STALLED = "STALLED"
    #: Started longer ago than the threshold, without one result.
    NEVER_STARTED = "NEVER_STARTED"
    #: Its owner paused it.
    PAUSED = "PAUSED"

    @property
    def is_defect(self) -> bool:
        """True for what can be repaired from the results alone."""
        return self in {Diagnosis.FULLY_PROCESSED, Diagnosis.COUNTER_DRIFT}

    @property
    def needs_attention(self) -> bool:
        """True where only a person, or a sender, brings the campaign further."""
        return self in {Diagnosis.STALLED, Diagnosis.NEVER_STARTED}


def diagnose(
    *,
    state: State,
    total: int,
    counters: Counters,
    counted: Counters,
    start_time: datetime,
    progress_time: datetime | None,
    now: datetime,
    stall_threshold: timedelta,
) -> Diagnosis:
    """Return what is the matter with an open campaign.

    It looks at the last progress, never at the age: a slow campaign that lives is
    IN_PROGRESS however old it is.

    Args:
        state: SENDING or PAUSED.
        total: the sealed number of messages.
        counters: what the campaign's row says.
        counted: what counting the results says.
        start_time: when it entered SENDING first.
        progress_time: when its last new result was stored, if one was.
        now: the database's time.
        stall_threshold: how long without a new result is too long.
    """
    if counters != counted:
        return Diagnosis.COUNTER_DRIFT
    if counted.processed == total:
        return Diagnosis.FULLY_PROCESSED
    if state is State.PAUSED:
        return Diagnosis.PAUSED
    if now - max(start_time, progress_time or start_time) <= stall_threshold:
        return Diagnosis.IN_PROGRESS
    return Diagnosis.STALLED if progress_time else Diagnosis.NEVER_STARTED
