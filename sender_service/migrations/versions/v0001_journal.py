"""Campaigns, their recipients, the shards of work, and the journal of outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0001"
down_revision = None

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the tables of an empty database."""
    _campaigns(op)
    _uploads(op)
    _recipients(op)
    _shards(op)
    _outcomes(op)
    _deferrals(op)
    op.create_table("meta", sa.Column("name", sa.Text, primary_key=True), _text("value"))


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    not_negative = sa.CheckConstraint(f"{name} >= 0", name=f"{name}_not_negative")
    return sa.Column(name, sa.BigInteger, not_negative, nullable=False)


def _part_of_key(name: str, *of: sa.ForeignKey) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, *of, primary_key=True, autoincrement=False)


def _campaigns(op: Operations) -> None:
    op.create_table(
        "campaigns",
        sa.Column("campaign", _Key, primary_key=True),
        _text("organisation"),
        _text("campaign_id"),
        sa.Column("request_id", sa.Text),
        _text("display_name"),
        _text("channel"),
        _text("content"),
        _text("content_digest"),
        _text("request_digest"),
        _text("guarantee"),
        sa.Column("window", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("retry_backoff_ms", sa.BigInteger, nullable=False),
        _text("phase"),
        _number("total"),
        sa.Column("schedule_time", sa.BigInteger),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("finish_time", sa.BigInteger),
        _text("state"),
        _text("problem"),
        sa.Column("problem_time", sa.BigInteger),
        sa.Column("unreachable_time", sa.BigInteger),
        sa.UniqueConstraint("organisation", "campaign_id"),
        sa.UniqueConstraint("organisation", "request_id"),
        sa.CheckConstraint(
            "phase IN ('COLLECTING', 'FROZEN', 'STARTED', 'FINISHED')", name="phase_known"
        ),
        sa.CheckConstraint(
            "guarantee IN ('AT_MOST_ONCE', 'AT_LEAST_ONCE')", name="guarantee_known"
        ),
        sa.CheckConstraint('"window" >= 1', name="window_positive"),
    )
    is_open = sa.text("phase IN ('FROZEN', 'STARTED')")
    op.create_index(
        "campaigns_open", "campaigns", ["phase"], sqlite_where=is_open, postgresql_where=is_open
    )


def _uploads(op: Operations) -> None:
    op.create_table(
        "uploads",
        _part_of_key("campaign", sa.ForeignKey("campaigns.campaign")),
        sa.Column("upload_id", sa.Text, primary_key=True),
        _number("next_row"),
        _number("accepted"),
        _number("duplicate"),
        _number("invalid"),
        _text("rejected_rows"),
    )


def _recipients(op: Operations) -> None:
    op.create_table(
        "recipients",
        _part_of_key("campaign"),
        _part_of_key("sequence"),
        _text("address"),
        _text("recipient_key"),
        _text("fields"),
        sa.UniqueConstraint("campaign", "address"),
        sqlite_with_rowid=False,
    )


def _shards(op: Operations) -> None:
    op.create_table(
        "shards",
        _part_of_key("campaign", sa.ForeignKey("campaigns.campaign")),
        _part_of_key("shard"),
        sa.Column("first_sequence", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        _text("owner"),
        _number("epoch"),
        sa.Column("lease_expire_time", sa.BigInteger),
        _number("revision"),
        sa.Column("intent_through", sa.BigInteger, nullable=False),
        _number("journaled"),
        _number("reported"),
        sa.CheckConstraint(
            "intent_through BETWEEN first_sequence - 1 AND last_sequence", name="intent_in_range"
        ),
        sa.CheckConstraint(
            "reported <= journaled AND journaled <= intent_through - first_sequence + 1",
            name="journal_below_intent",
        ),
    )


def _outcomes(op: Operations) -> None:
    op.create_table(
        "outcomes",
        _part_of_key("campaign"),
        _part_of_key("sequence"),
        sa.Column("shard", sa.BigInteger, nullable=False),
        sa.Column("entry", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        _text("code"),
        _text("detail"),
        _text("provider_message_id"),
        sa.Column("finish_time", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("campaign", "shard", "entry"),
        sa.CheckConstraint("outcome BETWEEN 1 AND 4", name="outcome_known"),
        sqlite_with_rowid=False,
    )


def _deferrals(op: Operations) -> None:
    op.create_table(
        "deferrals",
        _part_of_key("campaign"),
        _part_of_key("sequence"),
        sa.Column("shard", sa.BigInteger, nullable=False),
        _number("attempts"),
        sa.Column("next_attempt_time", sa.BigInteger, nullable=False),
        sa.Column("attempting", sa.Boolean, nullable=False),
        sa.Column("lost", sa.Boolean, nullable=False),
        sa.Column("first_attempt_time", sa.BigInteger),
        _text("code"),
        _text("detail"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "deferrals_due", "deferrals", ["campaign", "shard", "attempting", "next_attempt_time"]
    )
