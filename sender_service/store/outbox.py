"""The transactional outbox of outcomes: deliveries append, the relay reads page by page.

An entry is never changed. How far the status service acknowledged a shard is a number
in its row, so reporting again means setting that number back. All rows of ``outcomes``
are written here, by :func:`append` and :func:`append_selected`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from sender_service.domain import Outcome, Phase
from sender_service.store import bulk
from sender_service.store.campaigns import finished_lately, open_campaigns
from sender_service.store.schema import campaigns, meta, outcomes, shards
from sender_service.store.values import NO_PROBLEMS
from service_runtime.caller import DEFAULT_ORGANISATION
from service_runtime.database_time import database_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: sequence, outcome, attempt, code, detail, provider_message_id, finish_time (µs)
OutcomeRow: TypeAlias = tuple[int, int, int, str, str, str, int]

_COLUMNS = (
    "campaign",
    "shard",
    "entry",
    "sequence",
    "outcome",
    "attempt",
    "code",
    "detail",
    "provider_message_id",
    "finish_time",
)
_GENERATION = "store_generation"


class ShardKey(NamedTuple):
    """A shard, by the number of its campaign and its number within that."""

    campaign: int
    shard: int


class ShardProgress(NamedTuple):
    """How many entries a shard has, and how many of them are acknowledged."""

    key: ShardKey
    journaled: int
    reported: int


def append(
    connection: sa.Connection,
    campaign: int,
    shard: int,
    rows: Sequence[OutcomeRow],
    *,
    first_entry: int,
) -> None:
    """Append outcomes to the outbox of a shard; :func:`.shards.settle` counts them."""
    bulk.insert(
        connection,
        outcomes,
        _COLUMNS,
        [(campaign, shard, entry, *row) for entry, row in enumerate(rows, start=first_entry)],
    )


def append_selected(connection: sa.Connection, query: sa.Select[*tuple[object, ...]]) -> None:
    """Append what ``query`` selects: the columns of ``outcomes`` in the order of a row.

    :func:`.shards.settle` counts these too.
    """
    connection.execute(sa.insert(outcomes).from_select(_COLUMNS, query))


def read(
    connection: sa.Connection, key: ShardKey, *, after: int, limit: int
) -> Sequence[sa.Row[Any]]:
    """Return up to ``limit`` entries of a shard above number ``after``, in order.

    ``finish_time`` is in microseconds since 1970, since a ``datetime`` for each of a
    million entries costs more than it helps.
    """
    return connection.execute(
        sa.select(
            outcomes.c.entry,
            outcomes.c.sequence,
            outcomes.c.outcome,
            outcomes.c.attempt,
            outcomes.c.code,
            outcomes.c.detail,
            outcomes.c.provider_message_id,
            sa.type_coerce(outcomes.c.finish_time, sa.BigInteger).label("finish_time"),
        )
        .where(
            outcomes.c.campaign == key.campaign,
            outcomes.c.shard == key.shard,
            outcomes.c.entry > after,
        )
        .order_by(outcomes.c.entry)
        .limit(limit)
    ).all()


def progress(connection: sa.Connection, campaign: int) -> list[ShardProgress]:
    """Return how many entries each shard of a campaign has, and how many are reported."""
    rows = connection.execute(
        sa.select(shards.c.shard, shards.c.journaled, shards.c.reported)
        .where(shards.c.campaign == campaign)
        .order_by(shards.c.shard)
    )
    return [ShardProgress(ShardKey(campaign, row.shard), row[1], row[2]) for row in rows]


def acknowledge(
    connection: sa.Connection, reported: Mapping[ShardKey, int], *, also: Iterable[int] = ()
) -> list[int]:
    """Raise ``reported`` of shards; return which of their campaigns are finished now.

    A campaign is finished when every message has an outcome and every outcome is
    acknowledged.

    Args:
        connection: in a write transaction.
        reported: how many entries of each shard are acknowledged.
        also: campaigns to look at although nothing new of them is acknowledged.
    """
    for key, through in reported.items():
        connection.execute(
            sa.update(shards)
            .where(
                shards.c.campaign == key.campaign,
                shards.c.shard == key.shard,
                shards.c.reported < through,
            )
            .values(reported=through)
        )
    # In the order of their last acknowledgements, which is the order in which they end.
    touched = dict.fromkeys(key.campaign for key in reversed(list(reported)))
    ordered = [*sorted(set(also) - set(touched)), *reversed(touched)]
    return [campaign for campaign in ordered if finish_if_reported(connection, campaign)]


def finish_if_reported(connection: sa.Connection, campaign: int) -> bool:
    """Bring a STARTED campaign to FINISHED if nothing of it is left to do.

    False: it is in another phase, messages have no outcome, or outcomes are not
    acknowledged.
    """
    unreported = sa.exists().where(
        shards.c.campaign == campaign,
        shards.c.reported < shards.c.last_sequence - shards.c.first_sequence + 1,
    )
    finished = connection.execute(
        sa.update(campaigns)
        .where(
            campaigns.c.campaign == campaign,
            campaigns.c.phase == Phase.STARTED.value,
            ~unreported,
        )
        .values(
            phase=Phase.FINISHED.value,
            finish_time=database_now(),
            problems=NO_PROBLEMS,
            unreachable_time=None,
        )
    )
    return finished.rowcount == 1


def counts(connection: sa.Connection, campaign: int) -> dict[str, int]:
    """Return how many messages have each outcome, by its name in small letters."""
    rows = connection.execute(
        sa.select(outcomes.c.outcome, sa.func.count().label("messages"))
        .where(outcomes.c.campaign == campaign)
        .group_by(outcomes.c.outcome)
    )
    found = {row.outcome: row.messages for row in rows}
    return {outcome.name.lower(): found.get(outcome, 0) for outcome in reversed(Outcome)}


def bring_back(connection: sa.Connection, campaign: int) -> None:
    """Count all outcomes of a campaign as unreported; FINISHED, it is STARTED again.

    Nothing is sent by that: each message keeps the outcome it has. A campaign without
    messages has nothing to report, so it is FROZEN: only its seal is left to do.
    """
    phase = sa.case((campaigns.c.total == 0, Phase.FROZEN.value), else_=Phase.STARTED.value)
    connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign == campaign, campaigns.c.phase == Phase.FINISHED.value)
        .values(phase=phase, finish_time=None)
    )
    connection.execute(sa.update(shards).where(shards.c.campaign == campaign).values(reported=0))


def adopt_generation(
    connection: sa.Connection, organisation: str, generation: str, *, replay_days: int
) -> list[int] | None:
    """Remember which store of the status service holds the results of an organisation.

    None: the same as before, or the first one. Otherwise its campaigns that are not
    finished, and those finished within ``replay_days``, are brought back, and their numbers
    returned: :func:`bring_back`.
    """
    name = _GENERATION
    if organisation != DEFAULT_ORGANISATION:
        name = f"{_GENERATION}/{organisation}"
    before = connection.execute(
        sa.select(meta.c.value).where(meta.c.name == name)
    ).scalar_one_or_none()
    if before == generation:
        return None
    if before is None:
        connection.execute(sa.insert(meta).values(name=name, value=generation))
        return None
    connection.execute(sa.update(meta).where(meta.c.name == name).values(value=generation))
    rows = (
        *open_campaigns(connection, organisation),
        *finished_lately(connection, organisation, replay_days),
    )
    for row in rows:
        bring_back(connection, row.campaign)
    return [row.campaign for row in rows]
