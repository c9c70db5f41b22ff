"""Deliveries: which ones are to be tried now, and what became of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.schema import deliveries, events, subscriptions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from status_service.events.answer import Answer

#: Deliveries of a subscription that is deleted, which one transaction takes out.
_MOST_PURGED = 1_000
#: Nothing is planned for later than this: backoff.py.
_LATEST = timedelta(hours=3)

#: Written out, as the indexes of what is pending have it.
PENDING: Final[sa.ColumnElement[str]] = sa.literal_column("'PENDING'")
#: Whether a delivery is to be tried.
IS_PENDING: Final = deliveries.c.state == PENDING


class Due(NamedTuple):
    """A delivery that is to be tried now, and all that it takes."""

    event: int
    subscription: int
    campaign: int
    event_id: str
    body: str
    attempts: int
    first_time: datetime | None
    url: str
    secret: str
    now: datetime


class Bounds(NamedTuple):
    """Tries at once: in all, of one organisation, and of one subscription."""

    all: int = 128
    organisation: int = 16
    subscription: int = 8


class Look(NamedTuple):
    """What there is to do.

    Attributes:
        unpublished: whether there are new events.
        deleted: whether there are deleted subscriptions.
        astray: whether deliveries are planned for later than anything can be.
        due: what is to be tried now.
    """

    unpublished: bool
    deleted: bool
    astray: bool
    due: Sequence[Due]


class Tried(NamedTuple):
    """What became of a try.

    Attributes:
        due: what was tried.
        first: when the first try of it began.
        answer: what came of this one.
        next_time: when it is tried again; None: it is delivered, or dead.
    """

    due: Due
    first: datetime
    answer: Answer
    next_time: datetime | None


def look(connection: sa.Connection, busy: Collection[tuple[int, int]], bounds: Bounds) -> Look:
    """Return what there is to do: see :func:`due`."""
    now = read_clock(connection)
    unpublished = sa.exists().where(events.c.publish_time.is_(None))
    deleted = sa.exists().where(subscriptions.c.delete_time.is_not(None))
    ready = sa.exists().where(IS_PENDING, deliveries.c.next_time <= now)
    astray = sa.exists().where(IS_PENDING, deliveries.c.next_time > now + _LATEST)
    found = connection.execute(sa.select(unpublished, deleted, ready, astray)).one()
    tries = due(connection, busy, bounds) if found[2] else []
    return Look(bool(found[0]), bool(found[1]), bool(found[3]), tries)


def due(connection: sa.Connection, busy: Collection[tuple[int, int]], bounds: Bounds) -> list[Due]:
    """Return deliveries to try now: of each subscription and campaign the oldest alone.

    So the events of one campaign come in their order. No subscription and no organisation
    gets more than its part, so that one that does not answer holds up no other.

    Args:
        connection: on a snapshot.
        busy: (subscription, campaign) of those that are being tried.
        bounds: at most so many, with the busy ones.
    """
    now = read_clock(connection)
    first = (
        sa.select(sa.func.min(deliveries.c.next_time))
        .where(deliveries.c.subscription == subscriptions.c.subscription, IS_PENDING)
        .scalar_subquery()
    )
    rows = connection.execute(
        sa.select(subscriptions, first.label("next_time")).where(
            subscriptions.c.delete_time.is_(None)
        )
    ).all()
    organisations = {row.subscription: row.organisation for row in rows}
    taken: dict[int, list[int]] = defaultdict(list)
    for subscription, campaign in busy:
        taken[subscription].append(campaign)
    by_organisation = Counter(organisations.get(subscription, "") for subscription, _ in busy)
    waiting = [row for row in rows if row.next_time is not None and row.next_time <= now]
    found: list[Due] = []
    for row in sorted(waiting, key=lambda row: row.next_time):
        room = min(
            bounds.all - len(busy) - len(found),
            bounds.organisation - by_organisation[row.organisation],
            bounds.subscription - len(taken[row.subscription]),
        )
        if room > 0:
            tries = _due_of(connection, row, taken[row.subscription], now=now, most=room)
            by_organisation[row.organisation] += len(tries)
            found += tries
    return found


def _due_of(
    connection: sa.Connection,
    subscription: sa.Row[Any],
    taken: Sequence[int],
    *,
    now: datetime,
    most: int,
) -> list[Due]:
    columns = deliveries.c
    earlier = deliveries.alias("earlier")
    behind = sa.exists().where(
        earlier.c.subscription == columns.subscription,
        earlier.c.campaign == columns.campaign,
        earlier.c.state == PENDING,
        earlier.c.event < columns.event,
    )
    query = (
        sa.select(
            columns.event,
            columns.subscription,
            columns.campaign,
            events.c.event_id,
            events.c.body,
            columns.attempts,
            columns.first_time,
        )
        .join(events, events.c.event == columns.event)
        .where(
            columns.subscription == subscription.subscription,
            IS_PENDING,
            columns.next_time <= now,
            columns.campaign.not_in(taken),
            sa.not_(behind),
        )
        .order_by(columns.next_time, columns.event)
        .limit(most)
    )
    return [
        Due(*row, url=subscription.url, secret=subscription.secret, now=now)
        for row in connection.execute(query)
    ]


def record(connection: sa.Connection, tried: Iterable[Tried]) -> None:
    """Write what became of tries.

    A delivery that somebody else tried, or that was replayed, since it was taken up stays
    as it is: so whoever lost the duty in the middle of a try undoes nothing, and writing
    the same again changes nothing.
    """
    now = read_clock(connection)
    columns = deliveries.c
    for one in tried:
        ended = one.answer.delivered or one.next_time is None
        state = "DELIVERED" if one.answer.delivered else "DEAD" if ended else "PENDING"
        written = connection.execute(
            sa.update(deliveries)
            .where(
                columns.event == one.due.event,
                columns.subscription == one.due.subscription,
                IS_PENDING,
                columns.attempts == one.due.attempts,
                columns.first_time.is_not_distinct_from(one.due.first_time),
            )
            .values(
                state=state,
                attempts=one.due.attempts + 1,
                first_time=one.first,
                next_time=one.next_time or now,
                end_time=now if ended else None,
                answer=one.answer.text,
            )
        )
        if written.rowcount:
            # Those behind it wait as long, so that nobody looks at them in vain.
            connection.execute(
                sa.update(deliveries)
                .where(
                    columns.subscription == one.due.subscription,
                    columns.campaign == one.due.campaign,
                    columns.event > one.due.event,
                    IS_PENDING,
                )
                .values(next_time=one.next_time or now)
            )


def bring_back(connection: sa.Connection) -> None:
    """Make due what is planned for so late that the clock must have gone back since."""
    now = read_clock(connection)
    connection.execute(
        sa.update(deliveries)
        .where(IS_PENDING, deliveries.c.next_time > now + _LATEST)
        .values(next_time=now)
    )


def purge(connection: sa.Connection) -> None:
    """Take out a part of what a deleted subscription left; the subscription comes last."""
    gone = connection.execute(
        sa.select(subscriptions.c.subscription)
        .where(subscriptions.c.delete_time.is_not(None))
        .limit(1)
    ).scalar_one_or_none()
    if gone is None:
        return
    of_it = deliveries.c.subscription == gone
    numbers = sa.select(deliveries.c.event).where(of_it).limit(_MOST_PURGED)
    left = connection.execute(numbers).scalars().all()
    if left:
        connection.execute(sa.delete(deliveries).where(of_it, deliveries.c.event.in_(left)))
    else:
        connection.execute(sa.delete(subscriptions).where(subscriptions.c.subscription == gone))
