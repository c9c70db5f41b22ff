"""What the second contract says of a campaign: kinds of content, retries, labels, problems."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0002"
down_revision = "0001"

_MAX_BACKOFF_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_campaigns = sa.table(
    "campaigns",
    sa.column("campaign", sa.BigInteger),
    sa.column("content", sa.Text),
    sa.column("problem", sa.Text),
    sa.column("problem_time", sa.BigInteger),
    sa.column("problems", sa.Text),
)


def upgrade(op: Operations) -> None:
    """Bring the campaigns of the first version into their new form."""
    problems = _stored_problems(op)
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(op)
    else:
        _alter(op)
    _name_kinds(op)
    for campaign, text in problems.items():
        op.execute(
            sa.update(_campaigns).where(_campaigns.c.campaign == campaign).values(problems=text)
        )


def _stored_problems(op: Operations) -> dict[int, str]:
    """Return the new form of what holds campaigns up, by campaign."""
    query = sa.select(_campaigns.c.campaign, _campaigns.c.problem, _campaigns.c.problem_time)
    rows = op.get_bind().execute(query.where(_campaigns.c.problem != ""))
    return {row.campaign: json.dumps([_problem(row.problem, row.problem_time)]) for row in rows}


def _problem(text: str, time: int | None) -> dict[str, str | bool | None]:
    # All that is left after a restart is why a campaign was never started.
    since = None if time is None else (_EPOCH + timedelta(microseconds=time)).isoformat()
    return {
        "kind": "START_REFUSED",
        "summary": text,
        "detail": "",
        "setting": "",
        "provider": "",
        "since_time": since,
        "needs_attention": False,
    }


def _name_kinds(op: Operations) -> None:
    """Say of every content that it is an e-mail, as all were."""
    connection = op.get_bind()
    of_campaign = _campaigns.c.campaign == sa.bindparam("number")
    last = 0
    query = sa.select(_campaigns.c.campaign, _campaigns.c.content).order_by(_campaigns.c.campaign)
    while row := connection.execute(query.where(_campaigns.c.campaign > last).limit(1)).first():
        last = row.campaign
        content = json.dumps({"kind": "email", **json.loads(row.content)}, sort_keys=True)
        connection.execute(
            sa.update(_campaigns).where(of_campaign).values(content=content), {"number": last}
        )


def _alter(op: Operations) -> None:
    # Added and dropped, not renamed: the names of constraints then are those of a new table.
    for name, kind, default in (
        ("max_in_flight", sa.Integer, "1"),
        ("initial_backoff_ms", sa.BigInteger, "0"),
        ("max_backoff_ms", sa.BigInteger, str(_MAX_BACKOFF_MS)),
        ("labels", sa.Text, "{}"),
        ("problems", sa.Text, "[]"),
    ):
        op.add_column("campaigns", sa.Column(name, kind(), nullable=False, server_default=default))
        op.alter_column("campaigns", name, server_default=None)
    op.add_column("campaigns", sa.Column("retry_deadline_ms", sa.BigInteger))
    op.execute(
        'UPDATE campaigns SET max_in_flight = "window", initial_backoff_ms = retry_backoff_ms'
    )
    op.create_check_constraint("max_in_flight_positive", "campaigns", "max_in_flight >= 1")
    for name in ("window", "retry_backoff_ms", "problem", "problem_time"):
        op.drop_column("campaigns", name)


def _rebuild(op: Operations) -> None:
    """Make the table again: SQLite changes no constraint of a table that it has."""
    _create(op, "campaigns_next")
    kept = (
        "campaign, organisation, campaign_id, request_id, display_name, channel, content,"
        " content_digest, request_digest, guarantee, max_attempts, phase, total, schedule_time,"
        " create_time, start_time, finish_time, state, unreachable_time"
    )
    op.execute(
        f"INSERT INTO campaigns_next ({kept}, max_in_flight, initial_backoff_ms, max_backoff_ms,"  # noqa: S608 - our own words
        f' labels, problems) SELECT {kept}, "window", retry_backoff_ms, {_MAX_BACKOFF_MS},'
        " '{}', '[]' FROM campaigns"
    )
    op.drop_table("campaigns")
    op.rename_table("campaigns_next", "campaigns")
    op.create_index(
        "campaigns_open",
        "campaigns",
        ["phase"],
        sqlite_where=sa.text("phase IN ('FROZEN', 'STARTED')"),
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _create(op: Operations, name: str) -> None:
    op.create_table(
        name,
        sa.Column("campaign", sa.Integer, primary_key=True),
        _text("organisation"),
        _text("campaign_id"),
        sa.Column("request_id", sa.Text),
        _text("display_name"),
        _text("channel"),
        _text("content"),
        _text("content_digest"),
        _text("request_digest"),
        _text("guarantee"),
        sa.Column("max_in_flight", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("initial_backoff_ms", sa.BigInteger, nullable=False),
        sa.Column("max_backoff_ms", sa.BigInteger, nullable=False),
        sa.Column("retry_deadline_ms", sa.BigInteger),
        _text("labels"),
        _text("phase"),
        sa.Column(
            "total",
            sa.BigInteger,
            sa.CheckConstraint("total >= 0", name="total_not_negative"),
            nullable=False,
        ),
        sa.Column("schedule_time", sa.BigInteger),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("finish_time", sa.BigInteger),
        _text("state"),
        _text("problems"),
        sa.Column("unreachable_time", sa.BigInteger),
        sa.UniqueConstraint("organisation", "campaign_id"),
        sa.UniqueConstraint("organisation", "request_id"),
        sa.CheckConstraint(
            "phase IN ('COLLECTING', 'FROZEN', 'STARTED', 'FINISHED')", name="phase_known"
        ),
        sa.CheckConstraint(
            "guarantee IN ('AT_MOST_ONCE', 'AT_LEAST_ONCE')", name="guarantee_known"
        ),
        sa.CheckConstraint("max_in_flight >= 1", name="max_in_flight_positive"),
    )
