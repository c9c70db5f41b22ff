"""End messages that will not be tried any more, a shard at a time, without sending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sender_service.domain import Outcome
from sender_service.store import retries
from sender_service.store.schema import deferrals, outcomes, recipients, shards
from service_runtime.database import read_clock

if TYPE_CHECKING:
    from datetime import datetime

    from sender_service.store.leases import Claim

_COLUMNS = [
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
]


@dataclass(frozen=True, slots=True)
class Ending:
    """How messages end that were not sent.

    Attributes:
        outcome: SKIPPED or FAILED. A message of which an earlier try may have
            reached the recipient ends as UNKNOWN all the same.
        code: the reason, short.
        detail: the reason, for people.
    """

    outcome: Outcome
    code: str
    detail: str


def close_shard(connection: sa.Connection, claim: Claim, ending: Ending) -> int:
    """End every message of a claimed shard that has no outcome; release the shard.

    Returns how many there were. The claim has settled what was in doubt, and
    nothing of the shard is in a provider's hands.

    Raises:
        LeaseLostError: the shard belongs to another claim; nothing was changed.
    """
    size = claim.last_sequence - claim.first_sequence + 1
    closed = connection.execute(
        sa.update(shards)
        .where(*claim.lease.guard(), shards.c.revision == claim.revision)
        .values(
            revision=claim.revision + 1,
            journaled=size,
            intent_through=claim.last_sequence,
            lease_expire_time=None,
        )
    )
    if closed.rowcount == 0:
        raise claim.lease.lost()
    now = read_clock(connection)
    never_taken = claim.last_sequence - claim.intent_through
    for query in (_never_taken(claim, ending, now), _waiting(claim, ending, now, never_taken)):
        connection.execute(sa.insert(outcomes).from_select(_COLUMNS, query))
    lease = claim.lease
    connection.execute(sa.delete(deferrals).where(retries.of_shard(lease.campaign, lease.shard)))
    return size - claim.journaled


def _never_taken(claim: Claim, ending: Ending, now: datetime) -> sa.Select[*tuple[object, ...]]:
    return sa.select(
        recipients.c.campaign,
        sa.literal(claim.lease.shard),
        claim.journaled + recipients.c.sequence - claim.intent_through,
        recipients.c.sequence,
        sa.literal(ending.outcome.value),
        sa.literal(0),
        sa.literal(ending.code),
        sa.literal(ending.detail),
        sa.literal(""),
        sa.literal(now, outcomes.c.finish_time.type),
    ).where(
        recipients.c.campaign == claim.lease.campaign,
        recipients.c.sequence.between(claim.intent_through + 1, claim.last_sequence),
    )


def _waiting(
    claim: Claim, ending: Ending, now: datetime, never_taken: int
) -> sa.Select[*tuple[object, ...]]:
    number = sa.func.row_number().over(order_by=deferrals.c.sequence)
    return sa.select(
        deferrals.c.campaign,
        deferrals.c.shard,
        claim.journaled + never_taken + number,
        deferrals.c.sequence,
        sa.case((deferrals.c.lost, Outcome.UNKNOWN.value), else_=ending.outcome.value),
        deferrals.c.attempts,
        sa.literal(ending.code),
        sa.literal(ending.detail),
        sa.literal(""),
        sa.literal(now, outcomes.c.finish_time.type),
    ).where(retries.of_shard(claim.lease.campaign, claim.lease.shard))
