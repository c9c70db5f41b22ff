"""The audit trail of a campaign in words; pure code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from status_service.campaigns.wording import messages
from status_service.dashboard import formats
from status_service.domain import Cause, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import sqlalchemy as sa

_VERBS = {
    State.DRAFT: "Registered",
    State.SCHEDULED: "Scheduled",
    State.SENDING: "Started",
    State.PAUSED: "Paused",
    State.COMPLETED: "Completed",
    State.CANCELLED: "Cancelled",
}


class Step(NamedTuple):
    """One change of state.

    Attributes:
        moment: when.
        time: the same in words.
        verb: what happened.
        change: from which state to which.
        who: who did it, and for whom.
        more: what else is known of it; empty: nothing.
        reason: why; empty: nobody said.
    """

    moment: datetime
    time: str
    verb: str
    change: str
    who: str
    more: str
    reason: str


def steps(transitions: Sequence[sa.Row[Any]], now: datetime) -> list[Step]:
    """Return changes of state in words."""
    return [_step(row, now) for row in transitions]


def _step(row: sa.Row[Any], now: datetime) -> Step:
    claim = formats.clean(row.on_behalf_of)
    who = formats.clean(row.actor)
    return Step(
        moment=row.create_time,
        time=stamp(row.create_time, now),
        verb=_verb(row),
        change=_change(row),
        who=f"{who} ({claim})" if claim else who,
        more=f"{messages(row.forced)} recorded as UNKNOWN" if row.forced else "",
        reason=formats.clean(row.reason),
    )


def _verb(row: sa.Row[Any]) -> str:
    state = State(row.to_state)
    if state is State.SENDING and row.from_state == State.PAUSED:
        return "Resumed"
    if state is State.COMPLETED and row.cause == Cause.MANUAL:
        return "Marked complete"
    if row.cause == Cause.RECONCILE:
        return "Repaired"
    return _VERBS[state]


def _change(row: sa.Row[Any]) -> str:
    if row.from_state is None:
        return f"as {row.to_state} by"
    change = f"{row.from_state} → {row.to_state}"
    if row.cause == Cause.SCHEDULE:
        return f"{change}, its time had come, by"
    if row.cause == Cause.RESULT and row.to_state == State.COMPLETED:
        return f"{change} by its last result, from"
    return f"{change} by"


def stamp(moment: datetime, now: datetime) -> str:
    """Return a time in full, without the year where that is this one: "25 Nov, 08:47:52"."""
    date, time = formats.when(moment).removesuffix(" UTC").split(", ")
    if moment.year == now.year:
        date = date.rsplit(" ", 1)[0]
    return f"{date}, {time}"
