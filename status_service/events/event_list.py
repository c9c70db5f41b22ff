"""The events of one organisation, newest first, with what became of their deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from service_runtime.pages import Page
from status_service.events import subscriptions as all_subscriptions
from status_service.schema import campaigns, deliveries, events, subscriptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service_runtime.pages import PageRequest, Question

#: Events of a page at most: each may have 20 deliveries with an answer, and a message has
#: 4 MiB.
MOST_LISTED: Final = 200


class EventPage(NamedTuple):
    """A page of events, and the deliveries of each by its number."""

    page: Page
    deliveries: Mapping[int, Sequence[sa.Row[Any]]]


def list_events(
    connection: sa.Connection,
    organisation: str,
    page: PageRequest,
    *,
    campaign_id: str,
    subscription_id: str,
    state: str,
) -> EventPage:
    """Return events of an organisation, newest first.

    Args:
        connection: on a snapshot.
        organisation: whose.
        page: which page; MOST_LISTED at most.
        campaign_id: only of this campaign; empty: of all.
        subscription_id: only those that go to this subscription; empty: all.
        state: only those whose delivery to it has this state; empty: any.

    Raises:
        InvalidRequestError: the page token is wrong.
        SubscriptionNotFoundError: there is no such subscription.
    """
    page = page._replace(size=min(page.size, MOST_LISTED))
    question: Question = ["events", organisation, campaign_id, subscription_id, state]
    after = page.after(question)
    query = _query(connection, organisation, campaign_id, subscription_id, state, after)
    rows = connection.execute(query.limit(page.size + 1)).all()
    found = Page.of(rows, page, question, key_of=lambda row: [row.event])
    return EventPage(found, _deliveries(connection, [row.event for row in found.rows]))


def _query(  # noqa: PLR0917 - what is asked for
    connection: sa.Connection,
    organisation: str,
    campaign_id: str,
    subscription_id: str,
    state: str,
    after: list[int] | None,
) -> sa.Select[Any]:
    """Return the query; each way to ask walks one index from its end."""
    columns = events.c
    number: sa.ColumnElement[int] = columns.event
    query = (
        sa.select(
            columns.event,
            columns.event_id,
            columns.kind,
            columns.create_time,
            columns.publish_time,
            campaigns.c.campaign_id,
        )
        .join(campaigns, campaigns.c.campaign == columns.campaign)
        .where(columns.organisation == organisation, campaigns.c.organisation == organisation)
    )
    if campaign_id:
        query = query.where(columns.campaign == _number_of(connection, organisation, campaign_id))
    if subscription_id:
        row = all_subscriptions.get(connection, organisation, subscription_id)
        number = deliveries.c.event
        query = query.join(deliveries, number == columns.event).where(
            deliveries.c.subscription == row.subscription
        )
        if state:
            query = query.where(deliveries.c.state == state)
    if after is not None:
        query = query.where(number < after[0])
    return query.order_by(number.desc())


def _number_of(connection: sa.Connection, organisation: str, campaign_id: str) -> int:
    """Return the number of a campaign; if there is none, a number that none has."""
    found: int | None = connection.execute(
        sa.select(campaigns.c.campaign).where(
            campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id
        )
    ).scalar_one_or_none()
    return -1 if found is None else found


def _deliveries(
    connection: sa.Connection, numbers: Sequence[int]
) -> Mapping[int, Sequence[sa.Row[Any]]]:
    found: dict[int, list[sa.Row[Any]]] = {}
    query = (
        sa.select(deliveries, subscriptions.c.subscription_id)
        .join(subscriptions, subscriptions.c.subscription == deliveries.c.subscription)
        .where(deliveries.c.event.in_(numbers), subscriptions.c.delete_time.is_(None))
        .order_by(deliveries.c.subscription)
    )
    for row in connection.execute(query):
        found.setdefault(row.event, []).append(row)
    return found
