"""Subscriptions of one organisation, its events, and their replay."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.errors import (
    EventNotFoundError,
    SubscriptionAlreadyExistsError,
    SubscriptionNotFoundError,
    TooManySubscriptionsError,
)
from status_service.events import outbox, signature
from status_service.schema import campaigns, deliveries, events, subscriptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from service_runtime.caller import Caller

#: Subscriptions of one organisation.
MOST_SUBSCRIPTIONS: Final = 20
#: Events that one call replays.
MOST_REPLAYED: Final = 1_000
#: Locked while a subscription is made, so that the limit holds: any number.
_MAKING = 20_080


class NewSubscription(NamedTuple):
    """What is asked for; every field is checked."""

    url: str
    kinds: Sequence[str]
    labels: Mapping[str, str]
    secret: str
    request_id: str


def create(
    connection: sa.Connection, caller: Caller, new: NewSubscription
) -> tuple[sa.Row[Any], str]:
    """Subscribe; return the row, and the secret unless this call was made before.

    Raises:
        SubscriptionAlreadyExistsError: it was made with other content.
        TooManySubscriptionsError: the organisation has as many as it may.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))
    columns = subscriptions.c
    content = {
        "url": new.url,
        "kinds": json.dumps(sorted(set(new.kinds))),
        "labels": json.dumps(dict(sorted(new.labels.items())), ensure_ascii=False),
    }
    if new.request_id:
        known = connection.execute(
            sa.select(subscriptions).where(
                columns.organisation == caller.organisation, columns.request_id == new.request_id
            )
        ).one_or_none()
        if known is not None:
            # A secret that was not given was made, and is not given a second time.
            given = content | ({"secret": new.secret} if new.secret else {})
            for name, value in given.items():
                if getattr(known, name) != value:
                    raise SubscriptionAlreadyExistsError(known.subscription_id, differing=name)
            return known, ""
    if len(listed(connection, caller.organisation)) >= MOST_SUBSCRIPTIONS:
        raise TooManySubscriptionsError(MOST_SUBSCRIPTIONS)
    secret = new.secret or signature.new_secret()
    row = connection.execute(
        sa.insert(subscriptions)
        .values(
            organisation=caller.organisation,
            subscription_id=str(uuid.uuid4()),
            request_id=new.request_id or None,
            secret=secret,
            **content,
            creator=caller.actor,
            create_time=read_clock(connection),
        )
        .returning(subscriptions)
    ).one()
    return row, secret


def listed(connection: sa.Connection, organisation: str) -> Sequence[sa.Row[Any]]:
    """Return the subscriptions of an organisation, oldest first."""
    columns = subscriptions.c
    return connection.execute(
        sa.select(subscriptions)
        .where(columns.organisation == organisation, columns.delete_time.is_(None))
        .order_by(columns.subscription)
    ).all()


def get(
    connection: sa.Connection, organisation: str, subscription_id: str, *, keep: bool = False
) -> sa.Row[Any]:
    """Return a subscription.

    Args:
        connection: in a write transaction if ``keep``.
        organisation: whose.
        subscription_id: which one.
        keep: let nobody delete it before the transaction ends.

    Raises:
        SubscriptionNotFoundError: there is none in this organisation.
    """
    columns = subscriptions.c
    query = sa.select(subscriptions).where(
        columns.organisation == organisation,
        columns.subscription_id == subscription_id,
        columns.delete_time.is_(None),
    )
    row = connection.execute(query.with_for_update(read=True) if keep else query).one_or_none()
    if row is None:
        raise SubscriptionNotFoundError(subscription_id)
    return row


def delete(connection: sa.Connection, organisation: str, subscription_id: str) -> None:
    """End a subscription; its deliveries are taken out later, bit by bit.

    Raises:
        SubscriptionNotFoundError: there is none in this organisation.
    """
    row = get(connection, organisation, subscription_id)
    connection.execute(
        sa.update(subscriptions)
        .where(subscriptions.c.subscription == row.subscription)
        .values(delete_time=read_clock(connection), request_id=None)
    )


class Replayed(NamedTuple):
    """How many events are to be delivered again, and whether more dead ones are left."""

    number: int
    more: bool


def replay(
    connection: sa.Connection,
    organisation: str,
    subscription_id: str,
    event_ids: Sequence[str],
    stall_threshold: timedelta,
) -> Replayed:
    """Deliver events again: those named, or the oldest dead ones.

    Args:
        connection: in a write transaction.
        organisation: whose.
        subscription_id: to whom.
        event_ids: MOST_REPLAYED at most; empty: the dead ones.
        stall_threshold: for the explanation in events that were never sent.

    Raises:
        SubscriptionNotFoundError: there is no such subscription.
        EventNotFoundError: there is no such event.
    """
    row = get(connection, organisation, subscription_id, keep=True)
    if event_ids:
        numbers = _named(connection, organisation, row, event_ids, stall_threshold)
        more = False
    else:
        found = (
            connection.execute(
                sa.select(deliveries.c.event)
                .where(deliveries.c.subscription == row.subscription, deliveries.c.state == "DEAD")
                .order_by(deliveries.c.event)
                .limit(MOST_REPLAYED + 1)
            )
            .scalars()
            .all()
        )
        numbers, more = found[:MOST_REPLAYED], len(found) > MOST_REPLAYED
    connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.subscription == row.subscription,
            deliveries.c.event.in_(numbers),
        )
        .values(
            state="PENDING",
            attempts=0,
            first_time=None,
            end_time=None,
            next_time=read_clock(connection),
        )
    )
    return Replayed(len(numbers), more)


def _named(
    connection: sa.Connection,
    organisation: str,
    subscription: sa.Row[Any],
    event_ids: Sequence[str],
    stall_threshold: timedelta,
) -> Sequence[int]:
    """Return the numbers of events, each of which has a delivery and a body afterwards."""
    now = read_clock(connection)
    rows = connection.execute(
        sa.select(events).where(
            events.c.organisation == organisation, events.c.event_id.in_(event_ids)
        )
    )
    found = {event.event_id: event for event in rows}
    of_them = sorted({event.campaign for event in found.values()})
    rows = connection.execute(
        sa.select(campaigns).where(
            campaigns.c.campaign.in_(of_them), campaigns.c.organisation == organisation
        )
    )
    known = {campaign.campaign: campaign for campaign in rows}
    for event_id in event_ids:
        # Of a campaign that was taken out by hand nothing can be said any more.
        if event_id not in found or found[event_id].campaign not in known:
            raise EventNotFoundError(event_id)
    for event in found.values():
        outbox.add_deliveries(connection, event, [subscription], now=now)
        outbox.keep_body(connection, event, known[event.campaign], stall_threshold, now)
    return sorted(event.event for event in found.values())
