"""The outbox, who gets what is in it, and what was announced."""

from __future__ import annotations

import sqlalchemy as sa

from service_runtime.database_time import UtcTime
from status_service.schema.columns import Key, metadata

_UNPUBLISHED = sa.text("publish_time IS NULL")
_PENDING = sa.text("state = 'PENDING'")

#: The outbox: an event is written in the transaction of what it is about. Of one campaign,
#: their order is that of their numbers. ``publish_time`` is null until it is known who gets
#: the event; ``body`` is empty until it was sent somewhere first, then always the same.
events = sa.Table(
    "events",
    metadata,
    sa.Column("event", Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("campaign", sa.BigInteger, nullable=False),
    # Null for what is no change of state.
    sa.Column("transition", sa.BigInteger, sa.ForeignKey("transitions.transition")),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    # JSON of what only the writer of the event knew.
    sa.Column("details", sa.Text, nullable=False, server_default="{}"),
    sa.Column("body", sa.Text, nullable=False, server_default=""),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("publish_time", UtcTime),
    sa.Index("events_of_organisation", "organisation", "event"),
    sa.Index("events_of_campaign", "campaign", "event"),
    sa.Index("events_of_transition", "transition", unique=True),
    sa.Index(
        "events_unpublished", "event", sqlite_where=_UNPUBLISHED, postgresql_where=_UNPUBLISHED
    ),
)

#: Who gets events. The secret signs them, so it is kept as it is.
subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("subscription", Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("subscription_id", sa.Text, nullable=False, unique=True),
    sa.Column("request_id", sa.Text),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("kinds", sa.Text, nullable=False),  # JSON of a list
    sa.Column("labels", sa.Text, nullable=False),  # JSON of an object
    sa.Column("creator", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    # Set when it is to go; the publisher takes its deliveries out bit by bit.
    sa.Column("delete_time", UtcTime),
    sa.UniqueConstraint("organisation", "request_id"),
    sa.Index("subscriptions_of", "organisation", "subscription"),
)

#: One event for one subscription, and what became of it.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("event", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("subscription", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("campaign", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_time", UtcTime, nullable=False),
    sa.Column("first_time", UtcTime),  # of the first attempt
    sa.Column("end_time", UtcTime),
    sa.Column("answer", sa.Text, nullable=False),  # to the last attempt
    sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name="state_known"),
    sa.Index(
        "deliveries_pending",
        "subscription",
        "campaign",
        "event",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    sa.Index(
        "deliveries_due",
        "next_time",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    sa.Index(
        "deliveries_turn",
        "subscription",
        "next_time",
        "event",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    sa.Index("deliveries_of", "subscription", "event"),
    sa.Index("deliveries_by_state", "subscription", "state", "event"),
    sqlite_with_rowid=False,
)

#: What is the matter with a campaign and was announced; no row: nothing is.
alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("create_time", UtcTime, nullable=False),
)
