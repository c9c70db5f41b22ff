"""Labels of campaigns: as JSON with the campaign, and row by row to filter lists by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Give campaigns that are registered already no labels."""
    op.add_column("campaigns", sa.Column("labels", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "campaign_labels",
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
