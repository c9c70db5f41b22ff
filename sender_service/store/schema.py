"""The tables. Totals that operators see are computed from them, never stored as well.

The rows of ``recipients``, ``outcomes`` and ``deferrals`` carry no foreign keys:
they are written by the thousand, always in one transaction with the row of
``campaigns`` or ``shards`` they belong to, and a check of each would cost more than
the insert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from sender_service.domain import Guarantee, Phase
from service_runtime.database_time import UtcTime

if TYPE_CHECKING:
    from collections.abc import Iterable

metadata = sa.MetaData()

#: SQLite counts rows up by itself only in a column of type INTEGER.
_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, default="")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(
        name,
        sa.BigInteger,
        sa.CheckConstraint(f"{name} >= 0", name=f"{name}_not_negative"),
        nullable=False,
        default=0,
    )


def _part_of_key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def _one_of(name: str, words: Iterable[str]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{name} IN ({listed})", name=f"{name}_known")


_HAS_ENDED = sa.text("finish_time IS NOT NULL AND start_time IS NOT NULL")
_HAS_CONTENT = sa.text("finish_time IS NOT NULL AND content_remove_time IS NULL")
_HAS_RECIPIENTS = sa.text("finish_time IS NOT NULL AND recipients_remove_time IS NULL")

#: One row for each campaign. ``campaign`` is its number within the store, which
#: keeps all other rows short; ``campaign_id`` is what callers know.
campaigns = sa.Table(
    "campaigns",
    metadata,
    sa.Column("campaign", _Key, primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("campaign_id", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    _text("display_name"),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),  # JSON
    # Part of every idempotency key: over the channel and the content.
    sa.Column("content_digest", sa.Text, nullable=False),
    # Over all that the caller chose: a repeated CreateCampaign has the same.
    sa.Column("request_digest", sa.Text, nullable=False),
    sa.Column("guarantee", sa.Text, nullable=False),
    sa.Column("max_in_flight", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),  # 0: no limit
    sa.Column("initial_backoff_ms", sa.BigInteger, nullable=False),
    sa.Column("max_backoff_ms", sa.BigInteger, nullable=False),
    sa.Column("retry_deadline_ms", sa.BigInteger),  # null: the sender's setting
    sa.Column("labels", sa.Text, nullable=False, default="{}"),  # JSON, for the status service
    sa.Column("phase", sa.Text, nullable=False, default=Phase.COLLECTING.value),
    _number("total"),  # accepted recipients; fixed when frozen
    sa.Column("schedule_time", UtcTime),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("start_time", UtcTime),  # when the status service had sealed it
    sa.Column("finish_time", UtcTime),
    # The state received last, for people who read the store; never trusted after a restart.
    _text("state"),
    sa.Column("problems", sa.Text, nullable=False, default="[]"),  # JSON, see store.problems
    # Since when its provider can't be reached; null when it can.
    sa.Column("unreachable_time", UtcTime),
    # As ``family_of`` of the domain returns it; empty: none.
    sa.Column("family", sa.Text, nullable=False, server_default=""),
    # How long before and after its begin another campaign of the family counts as a
    # repetition; 0: never.
    sa.Column("repeat_after_ms", sa.BigInteger, nullable=False, server_default="0"),
    # When its sending begins or began, as far as it is known; null until it is frozen.
    sa.Column("begin_time", UtcTime),
    # Which list of ``left_out`` counts, and how many messages are on it; null: none.
    sa.Column("left_out_list", sa.BigInteger),
    sa.Column("left_out", sa.BigInteger, nullable=False, server_default="0"),
    # Since when its content is not kept any more, and its recipients with their outcomes.
    sa.Column("content_remove_time", UtcTime),
    sa.Column("recipients_remove_time", UtcTime),
    sa.UniqueConstraint("organisation", "campaign_id"),
    sa.UniqueConstraint("organisation", "request_id"),
    _one_of("phase", Phase),
    _one_of("guarantee", Guarantee),
    sa.CheckConstraint("max_in_flight >= 1", name="max_in_flight_positive"),
    sa.Index(
        "campaigns_open",
        "phase",
        sqlite_where=sa.text("phase IN ('FROZEN', 'STARTED')"),
        postgresql_where=sa.text("phase IN ('FROZEN', 'STARTED')"),
    ),
    sa.Index(
        "campaigns_family",
        "organisation",
        "family",
        "phase",
        "begin_time",
        sqlite_where=sa.text("family <> ''"),
        postgresql_where=sa.text("family <> ''"),
    ),
    # What ended last is looked up at each new stream of an organisation.
    sa.Index(
        "campaigns_finished_of",
        "organisation",
        "finish_time",
        sqlite_where=_HAS_ENDED,
        postgresql_where=_HAS_ENDED,
    ),
    # What is kept for a time is found by its age.
    *(
        sa.Index(f"campaigns_with_{kept}", "finish_time", sqlite_where=has, postgresql_where=has)
        for kept, has in (("content", _HAS_CONTENT), ("recipients", _HAS_RECIPIENTS))
    ),
)

#: How often an audience of a family was frozen: who looked for people who would get it
#: twice finds out by it whether the look still holds.
families = sa.Table(
    "families",
    metadata,
    sa.Column("organisation", sa.Text, primary_key=True),
    sa.Column("family", sa.Text, primary_key=True),
    sa.Column("freezes", sa.BigInteger, nullable=False),
)

#: Messages that end as SKIPPED since another campaign of the family, ``earlier``, went to
#: the same person. A call that looks for them writes a list with a number of its own;
#: only the one that the campaign names counts.
left_out = sa.Table(
    "left_out",
    metadata,
    _part_of_key("campaign"),
    _part_of_key("list"),
    _part_of_key("sequence"),
    sa.Column("earlier", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Campaigns that send another one, ``source``, again to some of its people.
resends = sa.Table(
    "resends",
    metadata,
    sa.Column(
        "campaign",
        sa.BigInteger,
        sa.ForeignKey("campaigns.campaign"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("source", sa.BigInteger, sa.ForeignKey("campaigns.campaign"), nullable=False),
    sa.Column("outcomes", sa.Text, nullable=False),  # JSON, a list of numbers
    sa.Column("include_unsent", sa.Boolean, nullable=False),
    # Up to which message of the source the audience is copied.
    _number("copied_through"),
    # Of those copied, by their outcome at the source.
    _number("sent"),
    _number("failed"),
    _number("skipped"),
    _number("unknown"),
    _number("unsent"),
)

#: The progress of each upload, which makes it resumable.
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column(
        "campaign",
        sa.BigInteger,
        sa.ForeignKey("campaigns.campaign"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("upload_id", sa.Text, primary_key=True),
    _number("next_row"),
    _number("accepted"),
    _number("duplicate"),
    _number("invalid"),
    sa.Column("rejected_rows", sa.Text, nullable=False, default="[]"),  # JSON, the first 20
)

#: The audience: one row for each message, numbered 1..total without a gap.
recipients = sa.Table(
    "recipients",
    metadata,
    _part_of_key("campaign"),
    _part_of_key("sequence"),
    sa.Column("address", sa.Text, nullable=False),
    _text("recipient_key"),
    sa.Column("fields", sa.Text, nullable=False, default="{}"),  # JSON
    sa.UniqueConstraint("campaign", "address"),
    sqlite_with_rowid=False,
)

#: Ranges of sequences, each worked on by one claim at a time. A shard is finished when
#: ``journaled = last_sequence - first_sequence + 1``; ``journaled - reported`` outcomes
#: are unreported; a shard is leased while ``lease_expire_time`` is not null.
shards = sa.Table(
    "shards",
    metadata,
    sa.Column(
        "campaign",
        sa.BigInteger,
        sa.ForeignKey("campaigns.campaign"),
        primary_key=True,
        autoincrement=False,
    ),
    _part_of_key("shard"),
    sa.Column("first_sequence", sa.BigInteger, nullable=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    _text("owner"),
    _number("epoch"),  # the fencing token of the owner
    sa.Column("lease_expire_time", UtcTime),
    # Counts the commits of the owner, so that one whose answer was lost is known.
    _number("revision"),
    # The high-water mark, written ahead: no message above it was handed to a provider.
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

#: The outbox: one row for each message that has an outcome. ``entry`` numbers the rows
#: of a shard 1..journaled in the order they were written.
outcomes = sa.Table(
    "outcomes",
    metadata,
    _part_of_key("campaign"),
    _part_of_key("sequence"),
    sa.Column("shard", sa.BigInteger, nullable=False),
    sa.Column("entry", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.SmallInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    _text("code"),
    _text("detail"),
    _text("provider_message_id"),
    sa.Column("finish_time", UtcTime, nullable=False),
    sa.UniqueConstraint("campaign", "shard", "entry"),
    sa.CheckConstraint("outcome BETWEEN 1 AND 4", name="outcome_known"),
    sqlite_with_rowid=False,
)

#: Messages up to the high-water mark that wait for a try. The provider does not have
#: them, unless ``attempting``: then they are in doubt.
deferrals = sa.Table(
    "deferrals",
    metadata,
    _part_of_key("campaign"),
    _part_of_key("sequence"),
    sa.Column("shard", sa.BigInteger, nullable=False),
    _number("attempts"),
    sa.Column("next_attempt_time", UtcTime, nullable=False),
    sa.Column("attempting", sa.Boolean, nullable=False, default=False),
    # An earlier try may have reached the recipient.
    sa.Column("lost", sa.Boolean, nullable=False, default=False),
    sa.Column("first_attempt_time", UtcTime),  # null: never tried
    _text("code"),
    _text("detail"),
    sa.Index("deferrals_due", "campaign", "shard", "attempting", "next_attempt_time"),
    sqlite_with_rowid=False,
)

#: Campaigns that somebody deleted. Their row in ``campaigns`` belongs to no organisation
#: from then on, so that nobody finds it, until everything of it is gone.
deleted_campaigns = sa.Table(
    "deleted_campaigns",
    metadata,
    sa.Column("campaign", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("campaign_id", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("delete_time", UtcTime, nullable=False),
    sa.UniqueConstraint("organisation", "campaign_id"),
)

#: What is to be removed: the ``recipients`` of a campaign with their outcomes, or all of a
#: ``campaign`` that was deleted. A row goes when that is done; messages up to ``position``
#: are gone, ``removed`` rows in all.
removals = sa.Table(
    "removals",
    metadata,
    _part_of_key("campaign"),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
    _one_of("what", ("recipients", "campaign")),
)

#: What the sender knows of other services, by name.
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
