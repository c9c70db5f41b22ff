"""Write down what became of the messages of one shard, and take more of them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from sender_service.campaigns.directory import Journaled
from sender_service.domain import Backoff
from sender_service.errors import LeaseLostError
from sender_service.store import shards
from sender_service.store.batch import Batch
from sender_service.store.outbox import ShardKey
from sender_service.store.shards import Position
from sender_service.verdicts import Finished
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from sender_service.campaigns.directory import Directory
    from sender_service.delivery.shard_report import ShardReport
    from sender_service.store.batch import PendingMessage
    from sender_service.store.leases import Claim
    from sender_service.store.shards import Advance
    from sender_service.verdicts import Retry
    from service_runtime.database import Store

#: Between two tries to write down what is finished, seconds.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.1, 5.0


class ShardCommits:
    """What a claim of a shard has written down, and what it has not yet.

    Args:
        store: the sender's.
        directory: announces how far the outbox of the shard goes.
        claim: the shard.
        report: counts what is written down.

    Attributes:
        is_released: True once the lease is released.
    """

    def __init__(
        self, store: Store, directory: Directory, claim: Claim, report: ShardReport
    ) -> None:
        self._store = store
        self._directory = directory
        self._claim = claim
        self._report = report
        self._position = Position(claim.revision, claim.intent_through, 0)
        self._journaled = claim.journaled
        self._retrying: set[int] = set()
        self._batch = Batch()
        self.is_released = False

    @property
    def in_doubt(self) -> int:
        """How many messages are taken and not written down, by the last commit."""
        return self._position.in_doubt

    @property
    def waiting(self) -> int:
        """How many messages wait to be written down."""
        return len(self._batch)

    @property
    def is_finished(self) -> bool:
        """True once every message of the shard has an outcome."""
        return self._journaled == self._claim.size

    def finish(self, message: PendingMessage, effect: Finished | Retry, begin_time: int) -> None:
        """Note what a try did to a message; the try began at ``begin_time`` (µs)."""
        self._retrying.discard(message.sequence)
        if isinstance(effect, Finished):
            self._batch.end(message, effect)
        else:
            self._batch.retry(message, effect, begin_time=begin_time)

    def requeue(self, message: PendingMessage, *, delay_seconds: float = 0.0) -> None:
        """Note that a message was taken and no try of it counts: it is not in doubt."""
        self._retrying.discard(message.sequence)
        self._batch.requeue(message, delay_seconds=delay_seconds)

    async def commit(self, *, take: int, release: bool, untried_first: bool) -> Advance:
        """Write down what waits, and take up to ``take`` messages; see :func:`shards.advance`.

        A commit that has begun is brought to its end even if its caller is cancelled, so
        that this object knows what is stored.

        Raises:
            LeaseLostError: nothing was written; the shard belongs to another claim.
        """
        commit = asyncio.create_task(
            self._commit_once(take=take, release=release, untried_first=untried_first)
        )
        try:
            return await asyncio.shield(commit)
        except asyncio.CancelledError:
            await asyncio.gather(commit, return_exceptions=True)
            raise

    async def _commit_once(self, *, take: int, release: bool, untried_first: bool) -> Advance:
        batch, self._batch = self._batch, Batch()
        work = partial(
            shards.advance,
            lease=self._claim.lease,
            position=self._position,
            batch=batch,
            take=take,
            retrying=frozenset(self._retrying),
            release=release,
            untried_first=untried_first,
        )
        backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
        while True:
            try:
                advance = await self._store.write(work)
                break
            except StoreUnavailableError:
                # The answer may be lost, or nothing written: repeating the call is
                # right in either case.
                await asyncio.sleep(backoff.next_seconds())
            except LeaseLostError:
                self._batch = batch
                raise
        self._position = advance.position
        self.is_released = advance.released
        self._retrying.update(taken.sequence for taken in advance.messages if taken.deferred)
        self._report.note(batch)
        if advance.journaled != self._journaled:
            self._journaled = advance.journaled
            lease = self._claim.lease
            key = ShardKey(lease.campaign, lease.shard)
            self._directory.announce(Journaled(key, advance.journaled))
        return advance
