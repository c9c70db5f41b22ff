"""The identity of the store, and what is done for all of it."""

from __future__ import annotations

import sqlalchemy as sa

from service_runtime.database_time import UtcTime
from status_service.schema.columns import metadata

#: One row: the identity of this store. A new store has another one.
store = sa.Table(
    "store",
    metadata,
    sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
)

#: What one instance does for all: who does it, and until when unless it goes on.
duties = sa.Table(
    "duties",
    metadata,
    sa.Column("duty", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until_time", UtcTime, nullable=False),
)

#: Campaigns that somebody deleted. Their row in ``campaigns`` belongs to no organisation
#: from then on, so that nobody finds it, until everything of it is gone.
deleted_campaigns = sa.Table(
    "deleted_campaigns",
    metadata,
    sa.Column("organisation", sa.Text, primary_key=True),
    sa.Column("campaign_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.BigInteger, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("total", sa.BigInteger),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("skipped", sa.BigInteger, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("end_time", UtcTime),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("on_behalf_of", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("delete_time", UtcTime, nullable=False),
)

#: What is to be removed: ``results`` or ``events`` of a campaign, or all of a ``campaign``
#: that was deleted. A row goes when that is done; ``position`` is how far its results are
#: gone, ``removed`` how many rows that were.
removals = sa.Table(
    "removals",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("what IN ('results', 'events', 'campaign')", name="what_known"),
)
