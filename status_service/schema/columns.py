"""What the columns of all tables have in common."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: SQLite counts rows up by itself only in a column of type INTEGER.
Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def counter(name: str) -> sa.Column[int]:
    """Return a column for a number of results, never negative."""
    return sa.Column(
        name,
        sa.BigInteger,
        sa.CheckConstraint(f"{name} >= 0", name=f"{name}_not_negative"),
        nullable=False,
        default=0,
    )


def text(name: str) -> sa.Column[str]:
    """Return a column for a text that may be empty."""
    return sa.Column(name, sa.Text, nullable=False, default="")
