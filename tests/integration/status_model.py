"""What the status service promises, in memory: a campaign as its callers must see it.

It stands for no part of the service. It keeps a dictionary of outcomes and derives
everything else, without a counter, a lock or a transaction that could be wrong.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from status_service.domain import OPEN, TERMINAL, Outcome, State


class RefusedError(Exception):
    """The call fails with this reason and changes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Counts(NamedTuple):
    """What is answered about results: how many were new, raised and duplicate."""

    new: int = 0
    raised: int = 0
    duplicate: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return the sum."""
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def in_any_order(self) -> tuple[int, int]:
        """What does not depend on which of two frames came first."""
        return self.new, self.raised + self.duplicate


class Kind(enum.StrEnum):
    """What a call did that is easily missed by calls made at random."""

    RAISED = "a result got a better outcome"
    DUPLICATE = "a result came again, or with a worse outcome"
    REPEATED = "of a whole frame nothing was new"
    LATE = "a frame came after the end of its campaign"
    LATE_NEW = "a result was new to a campaign that was cancelled"
    RAISED_LATE = "a result got a better outcome after the completion"
    OUT_OF_RANGE = "a frame had a message that the campaign has not"
    RESCHEDULED = "a scheduled campaign was moved to another time"
    SCHEDULE_KEPT = "a scheduled campaign was started again, and kept its time"
    EMPTY_AT_THE_START = "a campaign was complete when it began"
    FULL_BEFORE_ITS_TIME = "a scheduled campaign was completed by its results"
    STARTED_AFTER_ITS_END = "a campaign that had ended was started"
    FORCED = "a completion by hand filled what was missing"
    STALE = "a call knew an older revision"


class CampaignModel:
    """One campaign. Each call returns ``transitioned``, or raises :class:`RefusedError`.

    Args:
        made: counts what calls did, over all campaigns.
    """

    def __init__(self, made: Counter[Kind] | None = None) -> None:
        self._made: Counter[Kind] = Counter() if made is None else made
        self.total: int | None = None
        #: Hours from now it is scheduled for, if it is.
        self.due = 0
        self.stored: dict[int, int] = {}
        #: Sequences that got a better outcome after the completion.
        self.raised_late: set[int] = set()
        #: Grows with each change, as the revision does.
        self.version = 0
        #: Every state it was in, in order.
        self.trail = [State.DRAFT]

    @property
    def state(self) -> State:
        """The state it is in."""
        return self.trail[-1]

    @property
    def counters(self) -> dict[str, int]:
        """The counters that callers see, by name."""
        numbers = Counter(self.stored.values())
        by_name = {outcome.name.lower(): numbers[outcome] for outcome in Outcome}
        pending = 0 if self.total is None else self.total - len(self.stored)
        return by_name | {"processed": len(self.stored), "pending": pending}

    @property
    def missing(self) -> list[int]:
        """The sequences without a result."""
        return [number for number in range(1, (self.total or 0) + 1) if number not in self.stored]

    def _changed(self, state: State | None = None) -> bool:
        self.version += 1
        if state is not None:
            self.trail.append(state)
        if self.trail[-1] in OPEN and not self.missing:
            self.trail.append(State.COMPLETED)
        return True

    def _check(self, *, current: bool) -> None:
        if not current:
            self._made[Kind.STALE] += 1
            raise RefusedError("REVISION_MISMATCH")

    def start(self, total: int, hours: int, *, now: bool = False) -> bool:
        """Seal, and start in so many hours; 0: none are given, and ``now`` may be."""
        self._made[Kind.STARTED_AFTER_ITS_END] += self.state in TERMINAL
        if self.state is State.CANCELLED:
            raise RefusedError("TRANSITION_NOT_ALLOWED")
        if self.total not in {None, total}:
            raise RefusedError("CAMPAIGN_SEALED")
        if self.state is State.DRAFT:
            self.total, self.due = total, hours
            self._made[Kind.EMPTY_AT_THE_START] += not hours and not total
            return self._changed(State.SCHEDULED if hours else State.SENDING)
        another_time = hours not in {0, self.due}
        if self.state is not State.SCHEDULED:
            if another_time:
                raise RefusedError("TRANSITION_NOT_ALLOWED")
            return False
        if now:
            self._made[Kind.EMPTY_AT_THE_START] += not self.missing
            return self._changed(State.SENDING)
        self._made[Kind.RESCHEDULED if another_time else Kind.SCHEDULE_KEPT] += 1
        if another_time:
            self.due = hours
            self._changed()
        return False

    def report(self, rows: Iterable[tuple[int, int]]) -> Counts:
        """Merge the results of a frame: the higher outcome stays."""
        rows = list(rows)
        if rows and self.total is None:
            raise RefusedError("CAMPAIGN_NOT_SEALED")
        if not all(1 <= sequence <= (self.total or 0) for sequence, _ in rows):
            self._made[Kind.OUT_OF_RANGE] += 1
            raise RefusedError("SEQUENCE_OUT_OF_RANGE")
        before_it, counts = self.state, Counter[str]()
        for sequence, outcome in rows:
            before = self.stored.get(sequence, 0)
            counts["new" if not before else "raised" if outcome > before else "duplicate"] += 1
            if outcome > before:
                self.stored[sequence] = outcome
                if self.state is State.COMPLETED:
                    self.raised_late.add(sequence)
        if counts["new"] + counts["raised"]:
            self._changed()
            if self.state is State.SCHEDULED and not self.missing:
                self._made[Kind.FULL_BEFORE_ITS_TIME] += 1
                self.trail.append(State.COMPLETED)
        counted = Counts(counts["new"], counts["raised"], counts["duplicate"])
        if rows:
            self._note(counted, before_it)
        return counted

    def _note(self, counts: Counts, state: State) -> None:
        """Take note of what a frame with results did, which found the campaign in ``state``."""
        self._made[Kind.RAISED] += counts.raised
        self._made[Kind.DUPLICATE] += counts.duplicate
        self._made[Kind.REPEATED] += not counts.new + counts.raised
        self._made[Kind.LATE] += state in TERMINAL
        self._made[Kind.LATE_NEW] += counts.new if state is State.CANCELLED else 0
        self._made[Kind.RAISED_LATE] += counts.raised if state is State.COMPLETED else 0

    def change(self, target: State, *, current: bool = True) -> bool:
        """Pause, resume or cancel; ``current`` as for :meth:`mark_complete`."""
        self._check(current=current)
        if self.state is target:
            return False
        allowed = {
            State.PAUSED: {State.SENDING},
            State.SENDING: {State.PAUSED},
            State.CANCELLED: set(State) - TERMINAL,
        }
        if self.state not in allowed[target]:
            raise RefusedError("TRANSITION_NOT_ALLOWED")
        return self._changed(target)

    def mark_complete(self, *, force: bool, dry_run: bool, current: bool) -> bool:
        """Complete by hand; ``current`` says whether the revision given is the current one."""
        self._check(current=current)
        if self.state is State.COMPLETED:
            return False
        if self.state not in OPEN:
            raise RefusedError("CAMPAIGN_NOT_SENDING")
        if self.missing and not force:
            raise RefusedError("CAMPAIGN_NOT_FULLY_PROCESSED")
        if not dry_run:
            self._made[Kind.FORCED] += bool(self.missing)
            self.stored |= dict.fromkeys(self.missing, int(Outcome.UNKNOWN))
            self._changed()
        return True

    def repaired(self) -> None:
        """Take note that a change by hand was put right: nothing but the revision is new."""
        self.version += 1
