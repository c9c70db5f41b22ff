"""How long a key was made for, which a rotation does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0009"
down_revision = "0008"


def upgrade(op: Operations) -> None:
    """Add the column; of a key that is being rotated nothing better is known."""
    op.add_column("keys", sa.Column("life", sa.BigInteger))
    op.execute("UPDATE keys SET life = expire_time - create_time")
