"""End messages that will not be tried any more, a shard at a time, without sending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sender_service.domain import Outcome
from sender_service.store import omissions, outbox, retries, shards
from sender_service.store.schema import deferrals, left_out, outcomes, recipients

if TYPE_CHECKING:
    from datetime import datetime

    from sender_service.store.leases import Claim


@dataclass(frozen=True, slots=True)
class Ending:
    """How messages end that were not sent.

    Attributes:
        outcome: SKIPPED or FAILED; UNKNOWN replaces it for a message of which an
            earlier try may have reached the recipient.
        code: the reason, short.
        detail: the reason, for people.
    """

    outcome: Outcome
    code: str
    detail: str


def close_shard(connection: sa.Connection, claim: Claim, ending: Ending) -> int:
    """End every message of a claimed shard that has no outcome; release the shard.

    Returns how many messages that were. The claim has resolved what was in doubt, and
    nothing of the shard is in a provider's hands.

    Raises:
        LeaseLostError: the shard belongs to another claim; nothing was changed.
    """
    lease = claim.lease
    without_outcome = claim.size - claim.journaled
    closed = shards.settle(
        connection,
        lease,
        revision=claim.revision,
        outcomes=without_outcome,
        intent_through=claim.last_sequence,
        lease_expire_time=None,
    )
    if closed is None:
        raise lease.lost()
    never_taken = claim.last_sequence - claim.intent_through
    outbox.append_selected(connection, _never_taken(claim, ending, closed.now))
    outbox.append_selected(connection, _waiting(claim, ending, closed.now, never_taken))
    connection.execute(sa.delete(deferrals).where(retries.of_shard(lease.campaign, lease.shard)))
    return without_outcome


def _never_taken(claim: Claim, ending: Ending, now: datetime) -> sa.Select[*tuple[object, ...]]:
    omitted = (
        sa.select(left_out.c.sequence, omissions.DETAIL.label("detail"))
        .select_from(omissions.ENTRIES)
        .where(left_out.c.campaign == claim.lease.campaign)
        .subquery()
    )
    is_omitted = omitted.c.sequence.is_not(None)
    return (
        sa.select(
            recipients.c.campaign,
            sa.literal(claim.lease.shard),
            claim.journaled + recipients.c.sequence - claim.intent_through,
            recipients.c.sequence,
            sa.case((is_omitted, Outcome.SKIPPED.value), else_=ending.outcome.value),
            sa.literal(0),
            sa.case((is_omitted, omissions.CODE), else_=ending.code),
            sa.case((is_omitted, omitted.c.detail), else_=ending.detail),
            sa.literal(""),
            sa.literal(now, outcomes.c.finish_time.type),
        )
        .select_from(recipients.outerjoin(omitted, omitted.c.sequence == recipients.c.sequence))
        .where(
            recipients.c.campaign == claim.lease.campaign,
            recipients.c.sequence.between(claim.intent_through + 1, claim.last_sequence),
        )
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
