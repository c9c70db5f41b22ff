"""Campaigns, their results, and what is derived from these."""

from __future__ import annotations

import sqlalchemy as sa

from service_runtime.database_time import UtcTime
from status_service.domain import State
from status_service.schema.columns import Key, counter, metadata, text

_PROCESSED = "sent + failed + skipped + unknown"

_HAS_RESULTS = sa.text("end_time IS NOT NULL AND results_remove_time IS NULL")
_HAS_EVENTS = sa.text("end_time IS NOT NULL AND events_remove_time IS NULL")

#: One row for each campaign. ``campaign`` is its number within the store, which
#: keeps the rows of ``results`` short; ``campaign_id`` is what callers know.
campaigns = sa.Table(
    "campaigns",
    metadata,
    sa.Column("campaign", Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("campaign_id", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    text("display_name"),
    text("channel"),
    sa.Column("state", sa.Text, nullable=False, default=State.DRAFT),
    sa.Column("total", sa.BigInteger),  # null until sealed
    counter("sent"),
    counter("failed"),
    counter("skipped"),
    counter("unknown"),
    sa.Column("revision", sa.BigInteger, nullable=False, default=1),
    text("last_reporter"),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("schedule_time", UtcTime),
    sa.Column("start_time", UtcTime),
    sa.Column("progress_time", UtcTime),
    sa.Column("complete_time", UtcTime),
    # JSON of an object with its keys in order; never changed. See ``campaign_labels``.
    sa.Column("labels", sa.Text, nullable=False, server_default="{}"),
    # JSON as ``recording.problems`` writes it; ``[]`` in a terminal state.
    sa.Column("problems", sa.Text, nullable=False, server_default="[]"),
    # The last revision that is a change of the problems alone, and the last one that is
    # not, when that was written: while the former is current, so is the latter but for them.
    sa.Column("problems_revision", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("revision_before_problems", sa.BigInteger, nullable=False, server_default="0"),
    # When it came into a terminal state, and since when its results and events go.
    sa.Column("end_time", UtcTime),
    sa.Column("results_remove_time", UtcTime),
    sa.Column("events_remove_time", UtcTime),
    sa.UniqueConstraint("organisation", "campaign_id"),
    sa.UniqueConstraint("organisation", "request_id"),
    sa.CheckConstraint(
        f"state IN ({', '.join(repr(str(state)) for state in State)})", name="state_known"
    ),
    sa.CheckConstraint(
        f"total IS NULL AND {_PROCESSED} = 0 OR {_PROCESSED} <= total",
        name="processed_within_total",
    ),
    sa.CheckConstraint(
        f"state <> 'COMPLETED' OR (total IS NOT NULL AND {_PROCESSED} = total"
        " AND complete_time IS NOT NULL)",
        name="completed_is_processed",
    ),
    sa.CheckConstraint(
        "state IN ('DRAFT', 'CANCELLED') OR total IS NOT NULL", name="started_is_sealed"
    ),
    sa.Index("campaigns_by_age", "organisation", "create_time", "campaign"),
    sa.Index("campaigns_by_state", "organisation", "state", "create_time", "campaign"),
    sa.Index(
        "campaigns_with_problems",
        "organisation",
        sqlite_where=sa.text("problems <> '[]'"),
        postgresql_where=sa.text("problems <> '[]'"),
    ),
    sa.Index(
        "campaigns_open",
        "state",
        sqlite_where=sa.text("state IN ('SCHEDULED', 'SENDING', 'PAUSED')"),
        postgresql_where=sa.text("state IN ('SCHEDULED', 'SENDING', 'PAUSED')"),
    ),
    # What is kept for a time is found by its age.
    *(
        sa.Index(f"campaigns_with_{kept}", "end_time", sqlite_where=has, postgresql_where=has)
        for kept, has in (("results", _HAS_RESULTS), ("events", _HAS_EVENTS))
    ),
)

#: The labels of campaigns once more, in the order that a filter of a list looks them up.
campaign_labels = sa.Table(
    "campaign_labels",
    metadata,
    sa.Column("organisation", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

#: PostgreSQL announces every change of a campaign, whoever makes it, on this channel as
#: a JSON array of organisation, campaign id and revision, by a trigger that the first
#: version of :mod:`status_service.migrations` made. For a change of state that the service
#: makes, another array has the state as well.
CHANGED_CHANNEL = "closeout_campaigns"

#: A query that has this condition, word for word, can use the index of results.
NOT_SENT = sa.text("outcome < 4")

#: One row for each message that has an outcome: the truth everything is derived
#: from. ``outcome`` is the number of :class:`status_service.domain.Outcome`.
results = sa.Table(
    "results",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("outcome", sa.SmallInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    text("code"),
    text("detail"),
    text("provider_message_id"),
    sa.Column("finish_time", UtcTime),
    sa.Column("record_time", UtcTime, nullable=False),
    sa.CheckConstraint("outcome BETWEEN 1 AND 4", name="outcome_known"),
    sa.CheckConstraint("sequence >= 1", name="sequence_positive"),
    # Counts and lists of what is not SENT, without a look at what is.
    sa.Index(
        "results_not_sent",
        "campaign",
        "outcome",
        "sequence",
        sqlite_where=NOT_SENT,
        postgresql_where=NOT_SENT,
    ),
    sqlite_with_rowid=False,
)

#: The audit trail: one row for each change of state.
transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("transition", Key, primary_key=True),
    sa.Column("campaign", sa.BigInteger, sa.ForeignKey("campaigns.campaign"), nullable=False),
    sa.Column("from_state", sa.Text),  # null for the registration
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    text("actor"),
    text("reason"),
    sa.Column("create_time", UtcTime, nullable=False),
    # For whom the actor acted, by its own claim.
    sa.Column("on_behalf_of", sa.Text, nullable=False, server_default=""),
    # How many messages were recorded as UNKNOWN by force, to complete the campaign.
    sa.Column("forced", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("transitions_by_campaign", "campaign", "transition"),
    sa.Index(
        "transitions_completed_once",
        "campaign",
        unique=True,
        sqlite_where=sa.text("to_state = 'COMPLETED'"),
        postgresql_where=sa.text("to_state = 'COMPLETED'"),
    ),
)

#: The counters of a campaign over time: noted while they change, and when it ends.
samples = sa.Table(
    "samples",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sample_time", UtcTime, primary_key=True),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("skipped", sa.BigInteger, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
    # How many samples the campaign had with this one, and the least number of seconds
    # between two of the older ones.
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: How many results of a campaign that are not SENT have each code. A group is never
#: deleted while results come, so a code has one or belongs to the rest for good.
failure_groups = sa.Table(
    "failure_groups",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("outcome", sa.SmallInteger, primary_key=True, autoincrement=False),
    # 1: the results of all codes without a group; its code is empty.
    sa.Column("is_rest", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    # What was said about one of them, and the sequences of some as a JSON array.
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("examples", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
