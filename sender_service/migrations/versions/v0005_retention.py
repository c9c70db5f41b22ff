"""Retention: what ended is found by its age, and what was deleted is noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0005"
down_revision = "0004"

_INDEXES = {
    "campaigns_finished_of": (
        ["organisation", "finish_time"],
        "finish_time IS NOT NULL AND start_time IS NOT NULL",
    ),
    "campaigns_with_content": (
        ["finish_time"],
        "finish_time IS NOT NULL AND content_remove_time IS NULL",
    ),
    "campaigns_with_recipients": (
        ["finish_time"],
        "finish_time IS NOT NULL AND recipients_remove_time IS NULL",
    ),
}


def upgrade(op: Operations) -> None:
    """Add the columns and the table, and find ended campaigns by smaller indexes."""
    op.drop_index("campaigns_finished", "campaigns")
    op.drop_index("campaigns_finished_of", "campaigns")
    for name in ("content_remove_time", "recipients_remove_time"):
        op.add_column("campaigns", sa.Column(name, sa.BigInteger))
    for name, (columns, where) in _INDEXES.items():
        condition = sa.text(where)
        op.create_index(
            name, "campaigns", columns, sqlite_where=condition, postgresql_where=condition
        )
    op.create_table(
        "deleted_campaigns",
        sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("delete_time", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("organisation", "campaign_id"),
    )
    op.create_table(
        "removals",
        sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("what", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("what IN ('recipients', 'campaign')", name="what_known"),
    )
