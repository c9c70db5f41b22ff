"""When campaigns ended, which were deleted, and what of them is to be removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0010"
down_revision = "0009"

_END = """
UPDATE campaigns SET end_time = coalesce(
    complete_time,
    (SELECT max(transitions.create_time) FROM transitions
     WHERE transitions.campaign = campaigns.campaign AND to_state = 'CANCELLED'),
    progress_time, create_time
)
WHERE state IN ('COMPLETED', 'CANCELLED')
"""


def upgrade(op: Operations) -> None:
    """Add the columns and tables, and note when campaigns ended so far."""
    for name in ("end_time", "results_remove_time", "events_remove_time"):
        op.add_column("campaigns", sa.Column(name, sa.BigInteger))
    _note_ends(op.get_bind())
    for kept in ("results", "events"):
        condition = sa.text(f"end_time IS NOT NULL AND {kept}_remove_time IS NULL")
        op.create_index(
            f"campaigns_with_{kept}",
            "campaigns",
            ["end_time"],
            sqlite_where=condition,
            postgresql_where=condition,
        )
    op.create_table(
        "deleted_campaigns",
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("campaign_id", sa.Text, primary_key=True),
        sa.Column("campaign", sa.BigInteger, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("total", sa.BigInteger),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("sent", "failed", "skipped", "unknown")
        ),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("on_behalf_of", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("delete_time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "removals",
        sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("what", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("what IN ('results', 'events', 'campaign')", name="what_known"),
    )


def _note_ends(connection: sa.Connection) -> None:
    """Write when each terminal campaign ended; nobody hears of that, since no state changes."""
    quiet = connection.dialect.name == "postgresql"
    if quiet:
        connection.exec_driver_sql("ALTER TABLE campaigns DISABLE TRIGGER campaign_changed")
    connection.exec_driver_sql(_END)
    if quiet:
        connection.exec_driver_sql("ALTER TABLE campaigns ENABLE TRIGGER campaign_changed")
