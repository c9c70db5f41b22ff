"""Families of campaigns, people who are left out, and campaigns that are sent again."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0003"
down_revision = "0002"

_SEVEN_DAYS_MS = 7 * 24 * 3600 * 1000
_campaigns = sa.table(
    "campaigns",
    sa.column("campaign", sa.BigInteger),
    sa.column("display_name", sa.Text),
    sa.column("phase", sa.Text),
    sa.column("schedule_time", sa.BigInteger),
    sa.column("create_time", sa.BigInteger),
    sa.column("start_time", sa.BigInteger),
    sa.column("family", sa.Text),
    sa.column("repeat_after_ms", sa.BigInteger),
    sa.column("begin_time", sa.BigInteger),
)


def upgrade(op: Operations) -> None:
    """Give each campaign the family of its name, and the time at which it began."""
    for column in (
        sa.Column("family", sa.Text, nullable=False, server_default=""),
        sa.Column("repeat_after_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("begin_time", sa.BigInteger),
        sa.Column("left_out_list", sa.BigInteger),
        sa.Column("left_out", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("campaigns", column)
    _fill(op.get_bind())
    op.create_index(
        "campaigns_family",
        "campaigns",
        ["organisation", "family", "phase", "begin_time"],
        sqlite_where=sa.text("family <> ''"),
        postgresql_where=sa.text("family <> ''"),
    )
    op.create_index(
        "campaigns_finished",
        "campaigns",
        ["finish_time"],
        sqlite_where=sa.text("finish_time IS NOT NULL"),
        postgresql_where=sa.text("finish_time IS NOT NULL"),
    )
    op.create_table(
        "families",
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("family", sa.Text, primary_key=True),
        sa.Column("freezes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "left_out",
        _part_of_key("campaign"),
        _part_of_key("list"),
        _part_of_key("sequence"),
        sa.Column("earlier", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    _create_resends(op)


def _fill(connection: sa.Connection) -> None:
    of_campaign = _campaigns.c.campaign == sa.bindparam("number")
    names = connection.execute(sa.select(_campaigns.c.campaign, _campaigns.c.display_name)).all()
    for number, name in names:
        if family := unicodedata.normalize("NFC", name).strip():
            connection.execute(
                sa.update(_campaigns).where(of_campaign).values(family=family), {"number": number}
            )
    connection.execute(sa.update(_campaigns).values(repeat_after_ms=_SEVEN_DAYS_MS))
    connection.execute(
        sa.update(_campaigns)
        .where(_campaigns.c.phase != "COLLECTING")
        .values(
            begin_time=sa.func.coalesce(
                _campaigns.c.schedule_time, _campaigns.c.start_time, _campaigns.c.create_time
            )
        )
    )


def _create_resends(op: Operations) -> None:
    op.create_table(
        "resends",
        sa.Column(
            "campaign",
            sa.BigInteger,
            sa.ForeignKey("campaigns.campaign"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("source", sa.BigInteger, sa.ForeignKey("campaigns.campaign"), nullable=False),
        sa.Column("outcomes", sa.Text, nullable=False),
        sa.Column("include_unsent", sa.Boolean, nullable=False),
        *(
            sa.Column(
                name,
                sa.BigInteger,
                sa.CheckConstraint(f"{name} >= 0", name=f"{name}_not_negative"),
                nullable=False,
            )
            for name in ("copied_through", "sent", "failed", "skipped", "unknown", "unsent")
        ),
    )


def _part_of_key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)
