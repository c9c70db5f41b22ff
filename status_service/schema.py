"""The tables. What can be said as a constraint is, so that no code can break it."""

from __future__ import annotations

import sqlalchemy as sa

from service_runtime.database import UtcTime
from status_service.domain import State

metadata = sa.MetaData()


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(
        name,
        sa.BigInteger,
        sa.CheckConstraint(f"{name} >= 0", name=f"{name}_not_negative"),
        nullable=False,
        default=0,
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, default="")


#: SQLite counts rows up by itself only in a column of type INTEGER.
_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_PROCESSED = "sent + failed + skipped + unknown"

_HAS_RESULTS = sa.text("end_time IS NOT NULL AND results_remove_time IS NULL")
_HAS_EVENTS = sa.text("end_time IS NOT NULL AND events_remove_time IS NULL")

#: One row for each campaign. ``campaign`` is its number within the store, which
#: keeps the rows of ``results`` short; ``campaign_id`` is what callers know.
campaigns = sa.Table(
    "campaigns",
    metadata,
    sa.Column("campaign", _Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("campaign_id", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    _text("display_name"),
    _text("channel"),
    sa.Column("state", sa.Text, nullable=False, default=State.DRAFT),
    sa.Column("total", sa.BigInteger),  # null until sealed
    _counter("sent"),
    _counter("failed"),
    _counter("skipped"),
    _counter("unknown"),
    sa.Column("revision", sa.BigInteger, nullable=False, default=1),
    _text("last_reporter"),
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

#: Campaigns that somebody deleted. Their row in ``campaigns`` belongs to no organisation
#: from then on, so that nobody finds it, until everything of it is gone.
deleted_campaigns = sa.Table(
    "deleted_campaigns",
    metadata,
    sa.Column("organisation", sa.Text, primary_key=True),
    sa.Column("campaign_id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.BigInteger, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("total", sa.BigInteger),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("skipped", sa.BigInteger, nullable=False),
    sa.Column("unknown", sa.BigInteger, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("end_time", UtcTime),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("on_behalf_of", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("delete_time", UtcTime, nullable=False),
)

#: What is to be removed: ``results`` or ``events`` of a campaign, or all of a ``campaign``
#: that was deleted. A row goes when that is done; ``position`` is how far its results are
#: gone, ``removed`` how many rows that were.
removals = sa.Table(
    "removals",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("what IN ('results', 'events', 'campaign')", name="what_known"),
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
    _text("code"),
    _text("detail"),
    _text("provider_message_id"),
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
    sa.Column("transition", _Key, primary_key=True),
    sa.Column("campaign", sa.BigInteger, sa.ForeignKey("campaigns.campaign"), nullable=False),
    sa.Column("from_state", sa.Text),  # null for the registration
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    _text("actor"),
    _text("reason"),
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

_UNPUBLISHED = sa.text("publish_time IS NULL")
_PENDING = sa.text("state = 'PENDING'")

#: The outbox: an event is written in the transaction of what it is about. Of one campaign,
#: their order is that of their numbers. ``publish_time`` is null until it is known who gets
#: the event; ``body`` is empty until it was sent somewhere first, then always the same.
events = sa.Table(
    "events",
    metadata,
    sa.Column("event", _Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("campaign", sa.BigInteger, nullable=False),
    # Null for what is no change of state.
    sa.Column("transition", sa.BigInteger, sa.ForeignKey("transitions.transition")),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    # JSON of what only the writer of the event knew.
    sa.Column("details", sa.Text, nullable=False, server_default="{}"),
    sa.Column("body", sa.Text, nullable=False, server_default=""),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("publish_time", UtcTime),
    sa.Index("events_of_organisation", "organisation", "event"),
    sa.Index("events_of_campaign", "campaign", "event"),
    sa.Index("events_of_transition", "transition", unique=True),
    sa.Index(
        "events_unpublished", "event", sqlite_where=_UNPUBLISHED, postgresql_where=_UNPUBLISHED
    ),
)

#: Who gets events. The secret signs them, so it is kept as it is.
subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("subscription", _Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("subscription_id", sa.Text, nullable=False, unique=True),
    sa.Column("request_id", sa.Text),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("kinds", sa.Text, nullable=False),  # JSON of a list
    sa.Column("labels", sa.Text, nullable=False),  # JSON of an object
    sa.Column("creator", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    # Set when it is to go; the publisher takes its deliveries out bit by bit.
    sa.Column("delete_time", UtcTime),
    sa.UniqueConstraint("organisation", "request_id"),
    sa.Index("subscriptions_of", "organisation", "subscription"),
)

#: One event for one subscription, and what became of it.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("event", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("subscription", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("campaign", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_time", UtcTime, nullable=False),
    sa.Column("first_time", UtcTime),  # of the first attempt
    sa.Column("end_time", UtcTime),
    sa.Column("answer", sa.Text, nullable=False),  # to the last attempt
    sa.CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DEAD')", name="state_known"),
    sa.Index(
        "deliveries_pending",
        "subscription",
        "campaign",
        "event",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    sa.Index(
        "deliveries_due",
        "next_time",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    sa.Index(
        "deliveries_turn",
        "subscription",
        "next_time",
        "event",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    sa.Index("deliveries_of", "subscription", "event"),
    sa.Index("deliveries_by_state", "subscription", "state", "event"),
    sqlite_with_rowid=False,
)

#: What is the matter with a campaign and was announced; no row: nothing is.
alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("create_time", UtcTime, nullable=False),
)

#: What one instance does for all: who does it, and until when unless it goes on.
duties = sa.Table(
    "duties",
    metadata,
    sa.Column("duty", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until_time", UtcTime, nullable=False),
)

#: One row for each session of pages, by the SHA-256 of its cookie. ``note`` is a text that
#: is kept with it for a while.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("seen_time", UtcTime, nullable=False),
    sa.Column("expire_time", UtcTime, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("note_time", UtcTime),
)

#: What a page shows a sender in place of a key, by the SHA-256 of its secret: see
#: access/delegations.py. A row stands for a minute, and is deleted after it.
delegations = sa.Table(
    "delegations",
    metadata,
    sa.Column("delegation", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("expire_time", UtcTime, nullable=False),
    sa.Index("delegations_by_end", "expire_time"),
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

#: Who may call: docs/access.md. A row is never deleted: while there is one, nobody is served
#: without a key. ``scopes`` are names with blanks between, in the order of the alphabet.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False, unique=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    # SHA-256: the secret has 256 random bits, so a slow hash would add nothing.
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("creator", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("expire_time", UtcTime),
    sa.Column("revoke_time", UtcTime),
    # Written at most once a minute.
    sa.Column("last_use_time", UtcTime),
    # Microseconds it was made for; NULL: for ever. A rotation shortens expire_time alone.
    sa.Column("life", sa.BigInteger),
    sa.CheckConstraint("length(secret_hash) = 32", name="secret_hash_is_sha256"),
    sa.Index("keys_by_age", "organisation", "key"),
)

#: One row: the identity of this store. A new store has another one.
store = sa.Table(
    "store",
    metadata,
    sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
)
