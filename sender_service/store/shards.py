"""The one write path of a delivery: settle what is finished, take what comes next.

:func:`advance` does both in one transaction, so that at every committed moment at
most a window of messages is in doubt: taken, and without a written outcome.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.store import bulk, outbox, retries
from sender_service.store.schema import deferrals, recipients, shards
from service_runtime.database import database_now

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from sender_service.domain import Finished, Retry
    from sender_service.store.leases import Lease
    from sender_service.store.outbox import OutcomeRow
    from sender_service.store.retries import DeferralRow


class Launch(NamedTuple):
    """A message to hand over next.

    ``attempts`` tries were made before, the first of them at ``first_attempt_time``
    (µs since 1970); ``lost`` if one of those may have reached the recipient;
    ``deferred`` if it has a row in ``deferrals``.
    """

    sequence: int
    address: str
    recipient_key: str
    fields: str
    attempts: int = 0
    lost: bool = False
    first_attempt_time: int | None = None
    deferred: bool = False


@dataclass(slots=True)
class Batch:
    """What was finished since the last commit.

    Attributes:
        outcomes: messages that ended.
        deferrals: messages that wait for another try, or were never tried.
        ended_deferrals: those of ``outcomes`` that have a row in ``deferrals``.
    """

    outcomes: list[OutcomeRow] = field(default_factory=list)
    deferrals: list[DeferralRow] = field(default_factory=list)
    ended_deferrals: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.outcomes) + len(self.deferrals)

    def end(self, launch: Launch, finished: Finished) -> None:
        """Add a message that was tried and has its outcome, now."""
        self.outcomes.append(
            (
                launch.sequence,
                finished.outcome.value,
                launch.attempts + 1,
                finished.code,
                finished.detail,
                finished.provider_message_id,
                time.time_ns() // 1000,
            )
        )
        if launch.deferred:
            self.ended_deferrals.append(launch.sequence)

    def retry(self, launch: Launch, retry: Retry, *, begin_time: int) -> None:
        """Add a message that waits for another try; the last began at ``begin_time`` (µs)."""
        first_time = launch.first_attempt_time
        self.deferrals.append(
            (
                launch.sequence,
                launch.attempts + 1,
                # Never 0, which tells that a message was not tried.
                max(round(retry.delay_seconds * 1_000_000), 1),
                retry.lost,
                begin_time if first_time is None else first_time,
                retry.code,
                retry.detail,
            )
        )

    def give_back(self, launch: Launch) -> None:
        """Add a message that was taken and not tried."""
        self.deferrals.append(
            (launch.sequence, launch.attempts, 0, launch.lost, launch.first_attempt_time, "", "")
        )


@dataclass(frozen=True, slots=True)
class Position:
    """Where the owner of a shard believes it to be, by the last commit."""

    revision: int
    intent_through: int
    in_doubt: int


@dataclass(frozen=True, slots=True)
class Advance:
    """What a commit did.

    Attributes:
        position: where the shard is now.
        journaled: how many of its messages have an outcome.
        launches: the messages taken, to be handed over now.
        due_seconds: when the next waiting message may be tried; None: none waits.
        released: nothing is in doubt and nothing was taken: the lease is given up.
    """

    position: Position
    journaled: int
    launches: list[Launch]
    due_seconds: float | None
    released: bool


def advance(
    connection: sa.Connection,
    lease: Lease,
    position: Position,
    batch: Batch,
    *,
    take: int,
    retrying: AbstractSet[int],
    release: bool = False,
) -> Advance:
    """Write down ``batch``, and take up to ``take`` messages under a raised intent.

    Messages that are due for another try come before new ones. Repeating a call
    whose answer was lost returns what the first one did.

    Args:
        connection: in a write transaction.
        lease: the right to do so.
        position: where the shard was after the last commit.
        batch: what was finished since.
        take: how many messages there is room for in the window.
        retrying: messages with a row in ``deferrals`` that were taken earlier and
            are not in ``batch``.
        release: give up the lease whatever is still in doubt.

    Raises:
        LeaseLostError: the shard belongs to another claim; nothing was changed.
    """
    row = connection.execute(
        sa.update(shards)
        .where(*lease.guard(), shards.c.revision == position.revision)
        .values(
            revision=shards.c.revision + 1,
            journaled=shards.c.journaled + len(batch.outcomes),
        )
        .returning(shards, database_now().label("now"))
    ).one_or_none()
    if row is None:
        return _advanced_before(connection, lease, position, batch, retrying)
    _write(
        connection, lease, batch, now=row.now, first_entry=row.journaled - len(batch.outcomes) + 1
    )
    launches = _take_due(connection, lease, row.now, take)
    intent_through = min(position.intent_through + take - len(launches), row.last_sequence)
    launches += _new(connection, lease, position.intent_through, intent_through)
    in_doubt = position.in_doubt - len(batch) + len(launches)
    released = release or in_doubt == 0
    if released or intent_through > position.intent_through:
        connection.execute(
            sa.update(shards)
            .where(*lease.guard())
            .values(
                intent_through=intent_through,
                lease_expire_time=None if released else shards.c.lease_expire_time,
            )
        )
    return Advance(
        position=Position(row.revision, intent_through, in_doubt),
        journaled=row.journaled,
        launches=launches,
        due_seconds=_due_seconds(connection, lease, row.now),
        released=released,
    )


def _advanced_before(
    connection: sa.Connection,
    lease: Lease,
    position: Position,
    batch: Batch,
    retrying: AbstractSet[int],
) -> Advance:
    """Return what a commit did whose answer never came."""
    row = connection.execute(
        sa.select(shards, database_now().label("now"))
        .where(
            # A commit that gave up the lease is recognised too.
            shards.c.campaign == lease.campaign,
            shards.c.shard == lease.shard,
            shards.c.owner == lease.owner,
            shards.c.epoch == lease.epoch,
            shards.c.revision == position.revision + 1,
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise lease.lost()
    taken = connection.execute(
        _deferred(lease).where(deferrals.c.attempting, deferrals.c.sequence.not_in(retrying))
    )
    launches = [_deferred_launch(found) for found in taken]
    launches += _new(connection, lease, position.intent_through, row.intent_through)
    in_doubt = position.in_doubt - len(batch) + len(launches)
    return Advance(
        position=Position(row.revision, row.intent_through, in_doubt),
        journaled=row.journaled,
        launches=launches,
        due_seconds=_due_seconds(connection, lease, row.now),
        released=row.lease_expire_time is None,
    )


def _write(
    connection: sa.Connection, lease: Lease, batch: Batch, *, now: datetime, first_entry: int
) -> None:
    outbox.append(connection, lease.campaign, lease.shard, batch.outcomes, first_entry=first_entry)
    retries.end(connection, lease.campaign, batch.ended_deferrals)
    retries.defer(connection, lease.campaign, lease.shard, batch.deferrals, now)


def _deferred(lease: Lease) -> sa.Select[Any]:
    return (
        sa.select(
            recipients.c.sequence,
            recipients.c.address,
            recipients.c.recipient_key,
            recipients.c.fields,
            deferrals.c.attempts,
            deferrals.c.lost,
            deferrals.c.first_attempt_time,
        )
        .join(
            recipients,
            sa.and_(
                recipients.c.campaign == deferrals.c.campaign,
                recipients.c.sequence == deferrals.c.sequence,
            ),
        )
        .where(retries.of_shard(lease.campaign, lease.shard))
    )


def _deferred_launch(row: sa.Row[Any]) -> Launch:
    first = row.first_attempt_time
    return Launch(
        row.sequence,
        row.address,
        row.recipient_key,
        row.fields,
        row.attempts,
        row.lost,
        None if first is None else bulk.microseconds(first),
        deferred=True,
    )


def _take_due(connection: sa.Connection, lease: Lease, now: datetime, take: int) -> list[Launch]:
    if take == 0:
        return []
    due = connection.execute(
        _deferred(lease)
        .where(deferrals.c.attempting.is_(False), deferrals.c.next_attempt_time <= now)
        .order_by(deferrals.c.next_attempt_time, deferrals.c.sequence)
        .limit(take)
    )
    launches = [_deferred_launch(row) for row in due]
    for part in bulk.chunks(launches):
        connection.execute(
            sa.update(deferrals)
            .where(
                deferrals.c.campaign == lease.campaign,
                deferrals.c.sequence.in_([launch.sequence for launch in part]),
            )
            .values(attempting=True)
        )
    return launches


def _new(
    connection: sa.Connection, lease: Lease, intent_through: int, raised_to: int
) -> list[Launch]:
    if raised_to == intent_through:
        return []
    rows = connection.execute(
        sa.select(
            recipients.c.sequence,
            recipients.c.address,
            recipients.c.recipient_key,
            recipients.c.fields,
        )
        .where(
            recipients.c.campaign == lease.campaign,
            recipients.c.sequence.between(intent_through + 1, raised_to),
        )
        .order_by(recipients.c.sequence)
    )
    return [Launch(*row) for row in rows]


def _due_seconds(connection: sa.Connection, lease: Lease, now: datetime) -> float | None:
    due = retries.first_due(connection, retries.of_shard(lease.campaign, lease.shard))
    return None if due is None else max((due - now).total_seconds(), 0.0)
