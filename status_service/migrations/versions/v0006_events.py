"""Events of more than transitions, and the webhooks that they are delivered to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0006"
down_revision = "0005"

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_PENDING = sa.text("state = 'PENDING'")
_UNPUBLISHED = sa.text("publish_time IS NULL")

#: Nobody was subscribed so far: nothing of the past is sent unless somebody replays it.
_ASIDE = "CREATE TABLE events_before AS SELECT * FROM events"
_COPY = """
INSERT INTO events
    (event, organisation, campaign, transition, event_id, kind, create_time, publish_time)
SELECT transition, organisation, campaign, transition, event_id, kind,
    events_before.create_time, events_before.create_time
FROM events_before JOIN transitions USING (transition) JOIN campaigns USING (campaign)
"""
_CONTINUE = """
SELECT setval(
    pg_get_serial_sequence('events', 'event'),
    (SELECT coalesce(max(event), 0) + 1 FROM events), false
)
"""


def upgrade(op: Operations) -> None:
    """Number events by themselves; add subscriptions, deliveries, alarms and duties."""
    _renew_events(op)
    op.create_table(
        "subscriptions",
        sa.Column("subscription", _KEY, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("subscription_id", sa.Text, nullable=False, unique=True),
        sa.Column("request_id", sa.Text),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("kinds", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("delete_time", sa.BigInteger),
        sa.UniqueConstraint("organisation", "request_id"),
    )
    op.create_index("subscriptions_of", "subscriptions", ["organisation", "subscription"])
    op.create_table(
        "deliveries",
        sa.Column("event", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("subscription", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("campaign", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_time", sa.BigInteger, nullable=False),
        sa.Column("first_time", sa.BigInteger),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("answer", sa.Text, nullable=False),
        sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name="state_known"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "deliveries_pending",
        "deliveries",
        ["subscription", "campaign", "event"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["next_time"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
    op.create_index(
        "deliveries_turn",
        "deliveries",
        ["subscription", "next_time", "event"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
    op.create_index("deliveries_of", "deliveries", ["subscription", "event"])
    op.create_index("deliveries_by_state", "deliveries", ["subscription", "state", "event"])
    op.create_table(
        "alarms",
        sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "duties",
        sa.Column("duty", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until_time", sa.BigInteger, nullable=False),
    )


def _renew_events(op: Operations) -> None:
    bind = op.get_bind()
    # A table that is renamed would keep the names of its constraints.
    bind.exec_driver_sql(_ASIDE)
    op.drop_table("events")
    op.create_table(
        "events",
        sa.Column("event", _KEY, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("campaign", sa.BigInteger, nullable=False),
        sa.Column("transition", sa.BigInteger, sa.ForeignKey("transitions.transition")),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False, server_default="{}"),
        sa.Column("body", sa.Text, nullable=False, server_default=""),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("publish_time", sa.BigInteger),
    )
    bind.exec_driver_sql(_COPY)
    if bind.dialect.name == "postgresql":
        bind.exec_driver_sql(_CONTINUE)
    op.drop_table("events_before")
    op.create_index("events_of_organisation", "events", ["organisation", "event"])
    op.create_index("events_of_campaign", "events", ["campaign", "event"])
    op.create_index("events_of_transition", "events", ["transition"], unique=True)
    op.create_index(
        "events_unpublished",
        "events",
        ["event"],
        sqlite_where=_UNPUBLISHED,
        postgresql_where=_UNPUBLISHED,
    )
