"""From the outbox to deliveries: who gets which event, and what became of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database_time import UtcTime, read_clock
from status_service.campaigns import repair
from status_service.events.cloud_event import body_of
from status_service.events.kinds import USUAL
from status_service.events.queue import IS_PENDING
from status_service.schema import campaigns, deliveries, events, subscriptions, transitions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime, timedelta

#: Events that one transaction publishes; it holds the write lock for no longer.
MOST_PUBLISHED = 100


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
        # Not taken out by hand, with its number given to a campaign of somebody else.
        if campaign is not None and campaign.organisation == event.organisation:
            labels = json.loads(campaign.labels)
            getters = [
                subscription
                for subscription in by_organisation.get(campaign.organisation, ())
                if wants(subscription, event.kind, labels)
            ]
            add_deliveries(connection, event, getters, now=now)
            if getters:
                keep_body(connection, event, campaign, stall_threshold, now)
        connection.execute(
            sa.update(events).where(events.c.event == event.event).values(publish_time=now)
        )


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
    """Plan to deliver an event to subscriptions; those that have it already keep theirs.

    It waits as long as what is before it, so that nobody looks at it in vain.
    """
    of_subscription: sa.BindParameter[int] = sa.bindparam("of_subscription")
    before = (
        sa.select(sa.func.max(deliveries.c.next_time))
        .where(
            deliveries.c.subscription == of_subscription,
            deliveries.c.campaign == event.campaign,
            deliveries.c.event < event.event,
            IS_PENDING,
        )
        .scalar_subquery()
    )
    statement = insert(deliveries).values(
        event=event.event,
        subscription=of_subscription,
        campaign=event.campaign,
        state="PENDING",
        attempts=0,
        next_time=sa.func.coalesce(before, sa.literal(now, UtcTime())),
        answer="",
    )
    for subscription in getters:
        connection.execute(
            statement.on_conflict_do_nothing(), {"of_subscription": subscription.subscription}
        )


def keep_body(
    connection: sa.Connection,
    event: sa.Row[Any],
    campaign: sa.Row[Any],
    stall_threshold: timedelta,
    now: datetime,
) -> None:
    """Make the body of an event, unless it has one: it is the same at every try."""
    if not event.body:
        body = render(connection, event, campaign, stall_threshold, now)
        connection.execute(
            sa.update(events)
            .where(events.c.event == event.event, events.c.body == "")
            .values(body=body)
        )


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
