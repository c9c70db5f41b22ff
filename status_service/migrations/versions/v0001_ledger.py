"""Campaigns, results, the audit trail, the outbox, and the identity of the store.

On PostgreSQL a trigger tells of every change of a campaign, whoever makes it, as a
JSON array of organisation, campaign id and revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0001"
down_revision = None

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_TELL_CHANGES = """
CREATE FUNCTION closeout_campaign_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(
        'closeout_campaigns',
        json_build_array(NEW.organisation, NEW.campaign_id, NEW.revision)::text
    );
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_changed AFTER INSERT OR UPDATE ON campaigns
FOR EACH ROW EXECUTE FUNCTION closeout_campaign_changed();
"""


def upgrade(op: Operations) -> None:
    """Make the tables of an empty database."""
    _campaigns(op)
    _results(op)
    _transitions(op)
    _events(op)
    _store(op)
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(_TELL_CHANGES)


def _counter(name: str) -> sa.Column[int]:
    not_negative = sa.CheckConstraint(f"{name} >= 0", name=f"{name}_not_negative")
    return sa.Column(name, sa.BigInteger, not_negative, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _campaigns(op: Operations) -> None:
    op.create_table(
        "campaigns",
        sa.Column("campaign", _Key, primary_key=True),
        _text("organisation"),
        _text("campaign_id"),
        sa.Column("request_id", sa.Text),
        _text("display_name"),
        _text("channel"),
        _text("state"),
        sa.Column("total", sa.BigInteger),
        _counter("sent"),
        _counter("failed"),
        _counter("skipped"),
        _counter("unknown"),
        sa.Column("revision", sa.BigInteger, nullable=False),
        _text("last_reporter"),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("schedule_time", sa.BigInteger),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("progress_time", sa.BigInteger),
        sa.Column("complete_time", sa.BigInteger),
        sa.UniqueConstraint("organisation", "campaign_id"),
        sa.UniqueConstraint("organisation", "request_id"),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'SCHEDULED', 'SENDING', 'PAUSED', 'COMPLETED', 'CANCELLED')",
            name="state_known",
        ),
        sa.CheckConstraint(
            "total IS NULL AND sent + failed + skipped + unknown = 0"
            " OR sent + failed + skipped + unknown <= total",
            name="processed_within_total",
        ),
        sa.CheckConstraint(
            "state <> 'COMPLETED' OR (total IS NOT NULL"
            " AND sent + failed + skipped + unknown = total AND complete_time IS NOT NULL)",
            name="completed_is_processed",
        ),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'CANCELLED') OR total IS NOT NULL", name="started_is_sealed"
        ),
    )
    op.create_index("campaigns_by_age", "campaigns", ["organisation", "create_time", "campaign"])
    is_open = sa.text("state IN ('SCHEDULED', 'SENDING', 'PAUSED')")
    op.create_index(
        "campaigns_open", "campaigns", ["state"], sqlite_where=is_open, postgresql_where=is_open
    )


def _results(op: Operations) -> None:
    op.create_table(
        "results",
        sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        _text("code"),
        _text("detail"),
        _text("provider_message_id"),
        sa.Column("finish_time", sa.BigInteger),
        sa.Column("record_time", sa.BigInteger, nullable=False),
        sa.CheckConstraint("outcome BETWEEN 1 AND 4", name="outcome_known"),
        sa.CheckConstraint("sequence >= 1", name="sequence_positive"),
        sqlite_with_rowid=False,
    )


def _transitions(op: Operations) -> None:
    op.create_table(
        "transitions",
        sa.Column("transition", _Key, primary_key=True),
        sa.Column("campaign", sa.BigInteger, sa.ForeignKey("campaigns.campaign"), nullable=False),
        sa.Column("from_state", sa.Text),
        _text("to_state"),
        _text("cause"),
        _text("actor"),
        _text("reason"),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
    op.create_index("transitions_by_campaign", "transitions", ["campaign", "transition"])
    completion = sa.text("to_state = 'COMPLETED'")
    op.create_index(
        "transitions_completed_once",
        "transitions",
        ["campaign"],
        unique=True,
        sqlite_where=completion,
        postgresql_where=completion,
    )


def _events(op: Operations) -> None:
    op.create_table(
        "events",
        sa.Column(
            "transition",
            sa.BigInteger,
            sa.ForeignKey("transitions.transition"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("event_id", sa.Text, nullable=False, unique=True),
        _text("kind"),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("publish_time", sa.BigInteger),
    )


def _store(op: Operations) -> None:
    op.create_table(
        "store",
        sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True),
        _text("generation"),
        sa.Column("create_time", sa.BigInteger, nullable=False),
    )
