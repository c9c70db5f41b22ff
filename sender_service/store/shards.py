"""The write path of a delivery: settle what is finished, take what comes next.

:func:`advance` does both in one transaction, so that at every committed moment at
most a window of messages is in doubt: taken, and without a written outcome.
:func:`settle` counts outcomes, whoever records them, but for messages left out: these
:func:`advance` counts with the intent that passes over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sender_service.errors import LeaseLostError
from sender_service.store import bulk, omissions, outbox, retries
from sender_service.store.batch import Batch, PendingMessage
from sender_service.store.schema import deferrals, recipients, shards
from service_runtime.database_time import database_now

if TYPE_CHECKING:
    from collections.abc import Container
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one shard, as long as its epoch, a fencing token, is the shard's."""

    campaign: int
    shard: int
    owner: str
    epoch: int

    def guard(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions under which this lease is the valid one."""
        return [
            shards.c.campaign == self.campaign,
            shards.c.shard == self.shard,
            shards.c.owner == self.owner,
            shards.c.epoch == self.epoch,
            shards.c.lease_expire_time.is_not(None),
        ]

    def lost(self) -> LeaseLostError:
        """Return the error for a guard that matched nothing."""
        return LeaseLostError(campaign=self.campaign, shard=self.shard, epoch=self.epoch)


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
        messages: the messages taken, to be handed over now.
        due_seconds: until the next waiting message may be tried, or since; None: none waits.
        released: nothing is in doubt, taken or left out: the lease is released.
    """

    position: Position
    journaled: int
    messages: list[PendingMessage]
    due_seconds: float | None
    released: bool


def settle(
    connection: sa.Connection, lease: Lease, *, revision: int, outcomes: int, **changes: Any
) -> sa.Row[Any] | None:
    """Count ``outcomes`` that the caller appends to the outbox in this transaction.

    Returns the shard's row afterwards, with the time of the database as ``now``. None:
    the lease is not valid, or the shard has another ``revision``; nothing was changed.

    Args:
        connection: in a write transaction.
        lease: the right to the shard.
        revision: of the shard's row, which goes up by one.
        outcomes: how many messages have an outcome now that had none.
        changes: further columns to set.
    """
    return connection.execute(
        sa.update(shards)
        .where(*lease.guard(), shards.c.revision == revision)
        .values(
            revision=shards.c.revision + 1,
            journaled=shards.c.journaled + outcomes,
            **changes,
        )
        .returning(shards, database_now().label("now"))
    ).one_or_none()


def advance(
    connection: sa.Connection,
    lease: Lease,
    position: Position,
    batch: Batch,
    *,
    take: int,
    retrying: AbstractSet[int],
    release: bool = False,
    untried_first: bool = False,
) -> Advance:
    """Write down ``batch``, and take up to ``take`` messages under a raised intent.

    Messages that are due for another try come before new ones, or, with
    ``untried_first``, after them. Repeating a call whose answer was lost returns what the
    first one did.

    Args:
        connection: in a write transaction.
        lease: the right to do so.
        position: where the shard was after the last commit.
        batch: what was finished since.
        take: for how many messages the window has room.
        retrying: messages with a row in ``deferrals`` that were taken earlier and
            are not in ``batch``.
        release: release the lease whatever is still in doubt.
        untried_first: take messages that were never tried before those due.

    Raises:
        LeaseLostError: the shard belongs to another claim; nothing was changed.
    """
    row = settle(connection, lease, revision=position.revision, outcomes=len(batch.outcomes))
    if row is None:
        return _advanced_before(connection, lease, position, batch, retrying)
    _write(
        connection, lease, batch, now=row.now, first_entry=row.journaled - len(batch.outcomes) + 1
    )
    due = [] if untried_first else _take_due(connection, lease, row.now, take)
    first, last = position.intent_through + 1, row.last_sequence
    omission = omissions.find(connection, lease.campaign, first, last, take - len(due))
    skipped, intent_through = omission.messages, omission.through
    omissions.end(connection, lease.campaign, lease.shard, skipped, row)
    messages = due + _new(connection, lease, first, intent_through, skipped)
    if untried_first:
        messages += _take_due(connection, lease, row.now, take - len(messages))
    in_doubt = position.in_doubt - len(batch) + len(messages)
    released = release or (in_doubt == 0 and not skipped)
    if released or intent_through > position.intent_through:
        connection.execute(
            sa.update(shards)
            .where(*lease.guard())
            .values(
                journaled=row.journaled + len(skipped),
                intent_through=intent_through,
                lease_expire_time=None if released else shards.c.lease_expire_time,
            )
        )
    return Advance(
        position=Position(row.revision, intent_through, in_doubt),
        journaled=row.journaled + len(skipped),
        messages=messages,
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
            # A commit that released the lease is recognised too.
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
    messages = [_deferred_message(found) for found in taken]
    new = (position.intent_through + 1, row.intent_through)
    skipped = omissions.within(connection, lease.campaign, *new)
    messages += _new(connection, lease, *new, skipped)
    in_doubt = position.in_doubt - len(batch) + len(messages)
    return Advance(
        position=Position(row.revision, row.intent_through, in_doubt),
        journaled=row.journaled,
        messages=messages,
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


def _deferred_message(row: sa.Row[Any]) -> PendingMessage:
    first = row.first_attempt_time
    return PendingMessage(
        row.sequence,
        row.address,
        row.recipient_key,
        row.fields,
        row.attempts,
        row.lost,
        None if first is None else bulk.microseconds(first),
        deferred=True,
    )


def _take_due(
    connection: sa.Connection, lease: Lease, now: datetime, take: int
) -> list[PendingMessage]:
    if take == 0:
        return []
    due = connection.execute(
        _deferred(lease)
        .where(deferrals.c.attempting.is_(False), deferrals.c.next_attempt_time <= now)
        .order_by(deferrals.c.next_attempt_time, deferrals.c.sequence)
        .limit(take)
    )
    messages = [_deferred_message(row) for row in due]
    for part in bulk.chunks(messages):
        connection.execute(
            sa.update(deferrals)
            .where(
                deferrals.c.campaign == lease.campaign,
                deferrals.c.sequence.in_([launch.sequence for launch in part]),
            )
            .values(attempting=True)
        )
    return messages


def _new(
    connection: sa.Connection, lease: Lease, first: int, raised_to: int, skipped: Container[int]
) -> list[PendingMessage]:
    if raised_to < first:
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
            recipients.c.sequence.between(first, raised_to),
        )
        .order_by(recipients.c.sequence)
    )
    return [PendingMessage(*row) for row in rows if row.sequence not in skipped]


def _due_seconds(connection: sa.Connection, lease: Lease, now: datetime) -> float | None:
    due = retries.first_due(connection, retries.of_shard(lease.campaign, lease.shard))
    return None if due is None else (due - now).total_seconds()
