"""What is known of one campaign at one moment, for those who judge it; pure code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from status_service.domain import Counters, Diagnosis, Problem, State


class Entry(NamedTuple):
    """How a campaign came into its state.

    Attributes:
        actor: who brought it there.
        on_behalf_of: for whom, by the actor's own claim; empty: not said.
        reason: the reason given; empty: none.
        create_time: when.
        forced: how many messages were recorded as UNKNOWN for that.
    """

    actor: str
    on_behalf_of: str
    reason: str
    create_time: datetime
    forced: int

    @property
    def who(self) -> str:
        """Who brought it there, and for whom in brackets."""
        return f"{self.actor} ({self.on_behalf_of})" if self.on_behalf_of else self.actor


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a campaign at one moment.

    Attributes:
        state: its state.
        total: the sealed number of messages; None until it is sealed.
        counters: how many of them have each outcome.
        diagnosis: what is the matter with it; None if it is not open.
        problems: what holds its sender up, the most important first.
        now: the database's time.
        start_time: when it entered SENDING first, if it did.
        progress_time: when its last new result was stored, if one was.
        schedule_time: the time it was started with last, if any.
        last_reporter: who reported last; empty if nobody did.
        entry: how it came into its state; None: not known, as after a change by hand.
    """

    state: State
    total: int | None
    counters: Counters
    diagnosis: Diagnosis | None
    problems: Sequence[Problem]
    now: datetime
    start_time: datetime | None = None
    progress_time: datetime | None = None
    schedule_time: datetime | None = None
    last_reporter: str = ""
    entry: Entry | None = None

    @property
    def problem(self) -> Problem | None:
        """The first problem that needs a person, or else the first."""
        needy = (problem for problem in self.problems if problem.needs_attention)
        return next(needy, self.problems[0] if self.problems else None)

    @property
    def needs_attention(self) -> bool:
        """True if only a person, or a sender, brings it further."""
        if any(problem.needs_attention for problem in self.problems):
            return True
        return self.diagnosis is not None and self.diagnosis.needs_attention

    @property
    def of(self) -> int:
        """The total; 0 until it is sealed."""
        return self.total or 0

    @property
    def pending(self) -> int:
        """How many messages have no result."""
        return self.of - self.counters.processed

    @property
    def sending(self) -> timedelta:
        """How long ago it started."""
        return self.now - (self.start_time or self.now)

    @property
    def idle(self) -> timedelta:
        """How long ago the last new result came, or since it started if none came."""
        started = self.start_time or self.now
        return self.now - max(started, self.progress_time or started)
