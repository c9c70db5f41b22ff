"""Who works on a shard: claim, takeover and renewal of its lease.

A claim raises the shard's epoch, the fencing token of its owner. A claim also
resolves the doubt that the owner before left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sender_service.domain import Guarantee, Outcome
from sender_service.store import bulk, outbox, retries
from sender_service.store.schema import deferrals, outcomes, recipients, shards
from sender_service.store.shards import Lease, settle
from service_runtime.database_time import database_now, read_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZE = shards.c.last_sequence - shards.c.first_sequence + 1
_UNFINISHED = shards.c.journaled < _SIZE
_ALL_TRIED = shards.c.intent_through >= shards.c.last_sequence
_DOUBT_CODE = "in_doubt"
_DOUBT_DETAIL = "the sender was stopped while the provider had the message"


@dataclass(frozen=True, slots=True)
class Claim:
    """A shard that was claimed.

    Attributes:
        lease: the right to it.
        first_sequence: its first message.
        last_sequence: its last message.
        intent_through: no message above was ever handed over.
        journaled: how many of its messages have an outcome.
        revision: of the shard's row.
        taken_over: how many messages the owner before left in doubt, now resolved.
    """

    lease: Lease
    first_sequence: int
    last_sequence: int
    intent_through: int
    journaled: int
    revision: int
    taken_over: int

    @property
    def size(self) -> int:
        """How many messages the shard has."""
        return self.last_sequence - self.first_sequence + 1


@dataclass(frozen=True, slots=True)
class NothingToClaim:
    """No shard of the campaign can be worked on now.

    Attributes:
        unfinished: how many are not done; 0: every message has an outcome.
        wait_seconds: when to look again; None if nothing is foreseen.
        leased: another owner works on one.
    """

    unfinished: int
    wait_seconds: float | None
    leased: bool = False


def claim(
    connection: sa.Connection,
    campaign: int,
    *,
    owner: str,
    lease_seconds: float,
    guarantee: Guarantee,
    whole: bool = False,
    untried_first: bool = False,
) -> Claim | NothingToClaim:
    """Claim the first shard that has something to do, and resolve what is in doubt.

    What the owner before may have handed over without writing down the outcome is
    tried again (at least once) or ends as UNKNOWN (at most once).

    Args:
        connection: in a write transaction.
        campaign: the campaign's number.
        owner: who claims.
        lease_seconds: how long the claim holds without renewal.
        guarantee: the campaign's.
        whole: also a shard of which all messages wait for a later try.
        untried_first: prefer a shard with messages that were never tried.
    """
    query = _claimable(campaign, whole=whole, untried_first=untried_first)
    row = connection.execute(query).one_or_none()
    if row is None:
        return _nothing(connection, campaign)
    now = read_clock(connection)
    claimed = connection.execute(
        sa.update(shards)
        .where(
            shards.c.campaign == campaign, shards.c.shard == row.shard, shards.c.epoch == row.epoch
        )
        .values(
            owner=owner,
            epoch=row.epoch + 1,
            lease_expire_time=now + timedelta(seconds=lease_seconds),
        )
        .returning(shards)
    ).one()
    lease = Lease(campaign, row.shard, owner, claimed.epoch)
    taken_over, resolved = _resolve_doubt(connection, lease, claimed, guarantee, now)
    return Claim(
        lease=lease,
        first_sequence=row.first_sequence,
        last_sequence=row.last_sequence,
        intent_through=row.intent_through,
        journaled=resolved.journaled,
        revision=resolved.revision,
        taken_over=taken_over,
    )


def _claimable(campaign: int, *, whole: bool, untried_first: bool) -> sa.Select[Any]:
    free = sa.or_(
        shards.c.lease_expire_time.is_(None), shards.c.lease_expire_time <= database_now()
    )
    later = (
        sa.select(sa.func.count())
        .where(
            deferrals.c.campaign == shards.c.campaign,
            deferrals.c.shard == shards.c.shard,
            deferrals.c.attempting.is_(False),
            deferrals.c.next_attempt_time > database_now(),
        )
        .scalar_subquery()
    )
    conditions = [shards.c.campaign == campaign, _UNFINISHED, free]
    if not whole:
        conditions.append(_SIZE - shards.c.journaled > later)
    return (
        sa.select(shards)
        .where(*conditions)
        .order_by(*([_ALL_TRIED] if untried_first else []), shards.c.shard)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _nothing(connection: sa.Connection, campaign: int) -> NothingToClaim:
    unfinished, first_expiry = connection.execute(
        sa.select(sa.func.count(), sa.func.min(shards.c.lease_expire_time)).where(
            shards.c.campaign == campaign, _UNFINISHED
        )
    ).one()
    first_due = retries.first_due(connection, deferrals.c.campaign == campaign)
    times = [time for time in (first_expiry, first_due) if time is not None]
    if not times:
        return NothingToClaim(unfinished, None)
    leased = first_expiry is not None
    wait = (min(times) - read_clock(connection)).total_seconds()
    return NothingToClaim(unfinished, max(wait, 0.0), leased)


def _resolve_doubt(
    connection: sa.Connection,
    lease: Lease,
    shard: sa.Row[Any],
    guarantee: Guarantee,
    now: datetime,
) -> tuple[int, sa.Row[Any]]:
    """Return how many messages were in doubt, and the shard's row afterwards."""
    not_tried = connection.execute(
        sa.select(sa.func.count()).where(
            retries.of_shard(shard.campaign, shard.shard), deferrals.c.attempting.is_(False)
        )
    ).scalar_one()
    below_intent = shard.intent_through - shard.first_sequence + 1
    if below_intent - shard.journaled - not_tried == 0:
        return 0, shard
    retried = connection.execute(
        sa.select(deferrals.c.sequence, deferrals.c.attempts).where(
            retries.of_shard(shard.campaign, shard.shard), deferrals.c.attempting
        )
    ).all()
    first_tries = connection.scalars(_without_trace(shard)).all()
    doubt = [(row.sequence, row.attempts + 1) for row in retried]
    doubt += [(sequence, 1) for sequence in first_tries]
    if guarantee is Guarantee.AT_LEAST_ONCE:
        _try_again(connection, shard, first_tries, now)
        return len(doubt), shard
    return len(doubt), _give_up(connection, lease, shard, sorted(doubt), now)


def _without_trace(shard: sa.Row[Any]) -> sa.Select[int]:
    """Select the messages below the intent that have neither outcome nor deferral."""
    return sa.select(recipients.c.sequence).where(
        recipients.c.campaign == shard.campaign,
        recipients.c.sequence.between(shard.first_sequence, shard.intent_through),
        ~sa.exists().where(
            outcomes.c.campaign == shard.campaign, outcomes.c.sequence == recipients.c.sequence
        ),
        ~sa.exists().where(
            deferrals.c.campaign == shard.campaign, deferrals.c.sequence == recipients.c.sequence
        ),
    )


def _try_again(
    connection: sa.Connection, shard: sa.Row[Any], first_tries: Sequence[int], now: datetime
) -> None:
    connection.execute(
        sa.update(deferrals)
        .where(retries.of_shard(shard.campaign, shard.shard), deferrals.c.attempting)
        .values(
            attempting=False,
            lost=True,
            attempts=deferrals.c.attempts + 1,
            next_attempt_time=now,
            first_attempt_time=sa.func.coalesce(deferrals.c.first_attempt_time, database_now()),
            code=_DOUBT_CODE,
            detail=_DOUBT_DETAIL,
        )
    )
    first_attempt_time = bulk.microseconds(now)
    retries.defer(
        connection,
        shard.campaign,
        shard.shard,
        [
            (sequence, 1, 0, True, first_attempt_time, _DOUBT_CODE, _DOUBT_DETAIL)
            for sequence in first_tries
        ],
        now,
    )


def _give_up(
    connection: sa.Connection,
    lease: Lease,
    shard: sa.Row[Any],
    doubt: list[tuple[int, int]],
    now: datetime,
) -> sa.Row[Any]:
    resolved = settle(connection, lease, revision=shard.revision, outcomes=len(doubt))
    if resolved is None:
        raise lease.lost()
    finish_time = bulk.microseconds(now)
    rows = [
        (sequence, Outcome.UNKNOWN.value, attempt, _DOUBT_CODE, _DOUBT_DETAIL, "", finish_time)
        for sequence, attempt in doubt
    ]
    outbox.append(connection, lease.campaign, lease.shard, rows, first_entry=shard.journaled + 1)
    connection.execute(
        sa.delete(deferrals).where(
            retries.of_shard(lease.campaign, lease.shard), deferrals.c.attempting
        )
    )
    return resolved


def was_claimed(connection: sa.Connection, campaign: int) -> bool:
    """Return whether a shard of the campaign was ever claimed: its sending has begun."""
    return bool(
        connection.execute(
            sa.select(sa.exists().where(shards.c.campaign == campaign, shards.c.epoch > 0))
        ).scalar_one()
    )


def renew(connection: sa.Connection, lease: Lease, lease_seconds: float) -> None:
    """Keep the shard for ``lease_seconds`` from now.

    Raises:
        LeaseLostError: it belongs to another claim; nothing was changed.
    """
    expire_time = read_clock(connection) + timedelta(seconds=lease_seconds)
    renewed = connection.execute(
        sa.update(shards).where(*lease.guard()).values(lease_expire_time=expire_time)
    )
    if renewed.rowcount == 0:
        raise lease.lost()


def release_all(connection: sa.Connection) -> int:
    """Release every lease; return how many were held.

    Only for a store that one process holds alone, at its start: their owners are gone.
    """
    released = connection.execute(
        sa.update(shards)
        .where(shards.c.lease_expire_time.is_not(None))
        .values(lease_expire_time=None)
    )
    return released.rowcount
