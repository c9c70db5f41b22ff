"""What is to be removed goes in small transactions, each of a bounded number of rows.

``removals`` says what is left to do, and how far it is: whoever goes on after a crash begins
where the last commit ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.domain import State
from status_service.schema import (
    alarms,
    campaigns,
    deliveries,
    events,
    failure_groups,
    removals,
    results,
    samples,
    transitions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

#: Rows of ``results`` that one transaction removes, at most; mostly fewer: ``BlockSize``.
RESULTS_AT_ONCE: Final = 5_000
#: Events that one transaction removes, with their deliveries: up to 20 each.
EVENTS_AT_ONCE: Final = 100
#: Entries of the audit trail that one transaction removes.
TRANSITIONS_AT_ONCE: Final = 500
#: Campaigns that one transaction finds too old.
CAMPAIGNS_AT_ONCE: Final = 100
_TERMINAL = [state.value for state in State if state.is_terminal]


class Removal(NamedTuple):
    """Something to be removed: a row of ``removals``, and what its campaign is called.

    Attributes:
        campaign: the number of the campaign.
        what: ``results``, ``events``, or ``campaign`` for all of a deleted one.
        position: up to which sequence its results are gone.
        removed: how many rows are gone.
    """

    campaign: int
    what: str
    position: int
    removed: int


class Step(NamedTuple):
    """What one transaction did.

    Attributes:
        rows: how many rows it removed.
        done: true if nothing is left to do.
        removed: how many rows are gone since the removal began.
    """

    rows: int
    done: bool
    removed: int


class Expiry(NamedTuple):
    """How long results and events of ended campaigns are kept; None: for ever."""

    results: timedelta | None = None
    events: timedelta | None = None

    @property
    def parts(self) -> list[tuple[str, timedelta]]:
        """What is not kept for ever, and for how long."""
        named = (("results", self.results), ("events", self.events))
        return [(what, age) for what, age in named if age is not None]


def first(connection: sa.Connection) -> Removal | None:
    """Return something that is to be removed; None: there is nothing."""
    row = connection.execute(
        sa.select(removals).order_by(removals.c.campaign, removals.c.what).limit(1)
    ).one_or_none()
    return None if row is None else Removal(*row)


def is_due(connection: sa.Connection, expiry: Expiry) -> bool:
    """Return whether something of a campaign is kept for longer than it is to be."""
    return any(
        connection.execute(_too_old(connection, what, age).limit(1)).first() is not None
        for what, age in expiry.parts
    )


def expire(connection: sa.Connection, expiry: Expiry) -> int:
    """Note what is to be removed of campaigns that ended long ago; return of how many.

    From then on nobody gets it: a call for it fails with the reason, and results that come late are
    refused.
    """
    now = read_clock(connection)
    found = 0
    for what, age in expiry.parts:
        query = _too_old(connection, what, age).order_by(campaigns.c.end_time)
        # Who reports to a campaign holds it locked; another pass finds it again.
        numbers = connection.scalars(
            query.limit(CAMPAIGNS_AT_ONCE).with_for_update(skip_locked=True)
        ).all()
        for number in numbers:
            connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.campaign == number)
                .values({f"{what}_remove_time": now, "revision": campaigns.c.revision + 1})
            )
            connection.execute(sa.insert(removals).values(campaign=number, what=what))
        found += len(numbers)
    return found


def _too_old(connection: sa.Connection, what: str, age: timedelta) -> sa.Select[tuple[int]]:
    columns = campaigns.c
    return sa.select(columns.campaign).where(
        columns.end_time.is_not(None),
        columns[f"{what}_remove_time"].is_(None),
        columns.end_time < read_clock(connection) - age,
        # Not opened again by hand since.
        columns.state.in_(_TERMINAL),
    )


def step(connection: sa.Connection, removal: Removal, *, results_at_once: int) -> Step:
    """Remove the next rows; the last step of a removal ends it.

    Args:
        connection: in a write transaction.
        removal: what is to be removed.
        results_at_once: at most so many rows of ``results``.
    """
    number, what, position, removed = removal
    rows = 0
    if what in {"results", "campaign"}:
        rows, position = _remove_results(connection, number, position, results_at_once)
    if not rows and what in {"events", "campaign"}:
        rows = _remove_events(connection, number)
    if not rows and what == "campaign":
        _empty_last_event(connection, number)
        rows = _remove_transitions(connection, number)
    done = not rows
    if done and what == "results":
        rows = _remove_all(connection, number, [failure_groups])
    if done and what == "campaign":
        rows = _remove_all(connection, number, [failure_groups, samples, alarms])
        rows += _remove_row(connection, number)
    ended = sa.and_(removals.c.campaign == number, removals.c.what == what)
    if done:
        connection.execute(sa.delete(removals).where(ended))
    else:
        connection.execute(
            sa.update(removals)
            .where(ended)
            .values(position=position, removed=removals.c.removed + rows)
        )
    return Step(rows, done, removed + rows)


def _remove_results(
    connection: sa.Connection, campaign: int, position: int, most: int
) -> tuple[int, int]:
    """Remove the first results behind ``position``; return how many, and up to which."""
    of_it = results.c.campaign == campaign
    begin = connection.execute(
        sa.select(sa.func.min(results.c.sequence)).where(of_it, results.c.sequence > position)
    ).scalar_one()
    if begin is None:
        return 0, position
    end = begin + most - 1
    gone = connection.execute(
        sa.delete(results).where(of_it, results.c.sequence.between(begin, end))
    )
    return gone.rowcount, end


def _remove_events(connection: sa.Connection, campaign: int) -> int:
    """Remove the first events, and what is planned of their deliveries.

    The newest event of all stays: SQLite would give its number to another one, while
    somebody may be delivering the first.
    """
    numbers = connection.scalars(
        sa.select(events.c.event)
        .where(events.c.campaign == campaign, events.c.event < _newest(events.c.event))
        .order_by(events.c.event)
        .limit(EVENTS_AT_ONCE)
    ).all()
    if not numbers:
        return 0
    connection.execute(sa.delete(deliveries).where(deliveries.c.event.in_(numbers)))
    return connection.execute(sa.delete(events).where(events.c.event.in_(numbers))).rowcount


def _newest(number: sa.Column[int]) -> sa.ScalarSelect[int]:
    every = number.table.alias("every")
    return sa.select(sa.func.max(every.c[number.name])).scalar_subquery()


def _empty_last_event(connection: sa.Connection, campaign: int) -> None:
    """Take everything out of an event that stays for its number alone."""
    last = connection.scalars(sa.select(events.c.event).where(events.c.campaign == campaign)).all()
    connection.execute(sa.delete(deliveries).where(deliveries.c.event.in_(last)))
    connection.execute(
        sa.update(events)
        .where(events.c.event.in_(last))
        .values(
            organisation="",
            transition=None,
            details="{}",
            body="",
            publish_time=sa.func.coalesce(events.c.publish_time, events.c.create_time),
        )
    )


def _remove_transitions(connection: sa.Connection, campaign: int) -> int:
    numbers = connection.scalars(
        sa.select(transitions.c.transition)
        .where(transitions.c.campaign == campaign)
        .order_by(transitions.c.transition)
        .limit(TRANSITIONS_AT_ONCE)
    ).all()
    if not numbers:
        return 0
    return connection.execute(
        sa.delete(transitions).where(transitions.c.transition.in_(numbers))
    ).rowcount


def _remove_row(connection: sa.Connection, campaign: int) -> int:
    """Remove the row of a campaign, unless it is the newest: no number is given again."""
    return connection.execute(
        sa.delete(campaigns).where(
            campaigns.c.campaign == campaign, campaigns.c.campaign < _newest(campaigns.c.campaign)
        )
    ).rowcount


def _remove_all(connection: sa.Connection, campaign: int, tables: Iterable[sa.Table]) -> int:
    """Remove what is bounded for each campaign."""
    return sum(
        connection.execute(sa.delete(table).where(table.c.campaign == campaign)).rowcount
        for table in tables
    )
