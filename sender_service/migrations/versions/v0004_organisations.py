"""Many organisations at one sender: what one of them finished lately is found by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0004"
down_revision = "0003"


def upgrade(op: Operations) -> None:
    """Add the index."""
    op.create_index(
        "campaigns_finished_of",
        "campaigns",
        ["organisation", "finish_time"],
        sqlite_where=sa.text("finish_time IS NOT NULL"),
        postgresql_where=sa.text("finish_time IS NOT NULL"),
    )
