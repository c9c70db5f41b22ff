"""From the outbox to deliveries: who gets which event, and what became of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database import read_clock
from status_service.campaigns import repair
from status_service.events.cloud_event import body_of
from status_service.events.kinds import USUAL
from status_service.schema import campaigns, deliveries, events, subscriptions, transitions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime, timedelta

    from status_service.events.attempt import Answer

#: Events that one transaction publishes; it holds the write lock for no longer.
MOST_PUBLISHED = 100
#: Deliveries of a subscription that is deleted, which one transaction takes out.
_MOST_PURGED = 1_000
#: Subscriptions that one look for due deliveries finds.
_MOST_SUBSCRIPTIONS = 200


class Due(NamedTuple):
    """A delivery that is to be tried now, and all that it takes."""

    event: int
    subscription: int
    campaign: int
    event_id: str
    url: str
    secret: str
    body: str
    attempts: int
    first_time: datetime | None
    now: datetime


class Look(NamedTuple):
    """What there is to do.

    Attributes:
        unpublished: whether there are new events.
        deleted: whether there are deleted subscriptions.
        due: what is to be tried now.
    """

    unpublished: bool
    deleted: bool
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


def publish(connection: sa.Connection, stall_threshold: timedelta) -> None:
    """Make deliveries of the oldest unpublished events.

    Args:
        connection: in a write transaction.
        stall_threshold: for the explanation of how a campaign stands.
    """
    found = connection.execute(
        sa.select(events)
        .where(events.c.publish_time.is_(None))
        .order_by(events.c.event)
        .limit(MOST_PUBLISHED)
    ).all()
    now = read_clock(connection)
    rows = _campaigns(connection, {event.campaign for event in found})
    by_organisation = _subscriptions(connection, {row.organisation for row in rows.values()})
    for event in found:
        campaign = rows.get(event.campaign)
        values: dict[str, Any] = {"publish_time": now}
        if campaign is not None:  # not taken out by hand
            labels = json.loads(campaign.labels)
            getters = [
                subscription
                for subscription in by_organisation.get(campaign.organisation, ())
                if wants(subscription, event.kind, labels)
            ]
            add_deliveries(connection, event, getters, now=now)
            if getters and not event.body:
                values["body"] = render(connection, event, campaign, stall_threshold, now)
        connection.execute(sa.update(events).where(events.c.event == event.event).values(**values))


def _campaigns(connection: sa.Connection, numbers: Collection[int]) -> dict[int, sa.Row[Any]]:
    rows = connection.execute(sa.select(campaigns).where(campaigns.c.campaign.in_(sorted(numbers))))
    return {row.campaign: row for row in rows}


def _subscriptions(
    connection: sa.Connection, organisations: Collection[str]
) -> dict[str, list[sa.Row[Any]]]:
    found: dict[str, list[sa.Row[Any]]] = {}
    for row in connection.execute(
        sa.select(subscriptions).where(
            subscriptions.c.organisation.in_(sorted(organisations)),
            subscriptions.c.delete_time.is_(None),
        )
    ):
        found.setdefault(row.organisation, []).append(row)
    return found


def wants(subscription: sa.Row[Any], kind: str, labels: dict[str, str]) -> bool:
    """Return whether a subscription gets events of a kind, of a campaign with these labels."""
    wanted = json.loads(subscription.labels)
    return kind in (json.loads(subscription.kinds) or USUAL) and all(
        labels.get(label) == value for label, value in wanted.items()
    )


def add_deliveries(
    connection: sa.Connection,
    event: sa.Row[Any],
    getters: Iterable[sa.Row[Any]],
    *,
    now: datetime,
) -> None:
    """Plan to deliver an event to subscriptions; those that have it already keep theirs."""
    values = [
        {
            "event": event.event,
            "subscription": subscription.subscription,
            "campaign": event.campaign,
            "state": "PENDING",
            "attempts": 0,
            "next_time": now,
            "answer": "",
        }
        for subscription in getters
    ]
    if values:
        connection.execute(insert(deliveries).on_conflict_do_nothing(), values)


def render(
    connection: sa.Connection,
    event: sa.Row[Any],
    campaign: sa.Row[Any],
    stall_threshold: timedelta,
    now: datetime,
) -> str:
    """Return the body of an event, made from its campaign as it is now."""
    transition = None
    if event.transition is not None:
        transition = connection.execute(
            sa.select(transitions).where(transitions.c.transition == event.transition)
        ).one_or_none()
    details = json.loads(event.details)
    if "explanation" not in details:
        (found,) = repair.judge(connection, [campaign], stall_threshold, now)
        details |= {"explanation": found.explanation, "action": found.action}
    return body_of(event, campaign, transition, details)


def look(
    connection: sa.Connection, busy: Collection[tuple[int, int]], *, most: int, most_each: int
) -> Look:
    """Return what there is to do: see :func:`due`."""
    unpublished = sa.select(sa.exists().where(events.c.publish_time.is_(None)))
    deleted = sa.select(sa.exists().where(subscriptions.c.delete_time.is_not(None)))
    return Look(
        bool(connection.execute(unpublished).scalar_one()),
        bool(connection.execute(deleted).scalar_one()),
        due(connection, busy, most=most, most_each=most_each),
    )


def due(
    connection: sa.Connection, busy: Collection[tuple[int, int]], *, most: int, most_each: int
) -> list[Due]:
    """Return deliveries to try now: of each subscription and campaign the oldest alone.

    So the events of one campaign come in their order. Every subscription has its part,
    so that one that does not answer holds up no other.

    Args:
        connection: on a snapshot.
        busy: (subscription, campaign) of those that are being tried.
        most: at most so many in all.
        most_each: at most so many of one subscription, with the busy ones.
    """
    now = read_clock(connection)
    columns = deliveries.c
    waiting = connection.execute(
        sa.select(columns.subscription)
        .join(subscriptions, subscriptions.c.subscription == columns.subscription)
        .where(
            columns.state == "PENDING",
            columns.next_time <= now,
            subscriptions.c.delete_time.is_(None),
        )
        .group_by(columns.subscription)
        .order_by(sa.func.min(columns.next_time))
        .limit(_MOST_SUBSCRIPTIONS)
    ).scalars()
    found: list[Due] = []
    for subscription in waiting:
        taken = [campaign for other, campaign in busy if other == subscription]
        room = min(most - len(found), most_each - len(taken))
        if room > 0:
            found += _due_of(connection, subscription, taken, now=now, most=room)
    return found


def _due_of(
    connection: sa.Connection,
    subscription: int,
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
        earlier.c.state == "PENDING",
        earlier.c.event < columns.event,
    )
    query = (
        sa.select(
            columns.event,
            columns.subscription,
            columns.campaign,
            events.c.event_id,
            subscriptions.c.url,
            subscriptions.c.secret,
            events.c.body,
            columns.attempts,
            columns.first_time,
        )
        .join(events, events.c.event == columns.event)
        .join(subscriptions, subscriptions.c.subscription == columns.subscription)
        .where(
            columns.subscription == subscription,
            columns.state == "PENDING",
            columns.next_time <= now,
            columns.campaign.not_in(taken),
            sa.not_(behind),
        )
        .order_by(columns.next_time, columns.event)
        .limit(most)
    )
    return [Due(*row, now=now) for row in connection.execute(query)]


def record(connection: sa.Connection, tried: Iterable[Tried]) -> None:
    """Write what became of tries; a delivery that was decided meanwhile stays as it is."""
    now = read_clock(connection)
    for one in tried:
        ended = one.answer.delivered or one.next_time is None
        state = "DELIVERED" if one.answer.delivered else "DEAD" if ended else "PENDING"
        connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.event == one.due.event,
                deliveries.c.subscription == one.due.subscription,
                deliveries.c.state == "PENDING",
            )
            .values(
                state=state,
                attempts=one.due.attempts + 1,
                first_time=one.first,
                next_time=now if one.next_time is None else one.next_time,
                end_time=now if ended else None,
                answer=one.answer.text,
            )
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
