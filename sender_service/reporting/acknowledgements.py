"""Write down how far the status service has acknowledged the journal."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from sender_service.domain import Backoff
from sender_service.store import outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sender_service.store.outbox import ShardKey
    from service_runtime.database import Store


class Acknowledgements:
    """Stores acknowledgements as they come, all that came in meanwhile at once.

    What is lost here with the process is acknowledged again after a replay.

    Args:
        store: the sender's.
        replay_days: how long after its end a campaign is reported to another store.
    """

    def __init__(self, store: Store, *, replay_days: int) -> None:
        self._store = store
        self._replay_days = replay_days
        self._waiting: dict[ShardKey, int] = {}
        self._arrived = asyncio.Event()
        self._storing = asyncio.Lock()
        self._generation = ""

    @property
    def all_stored(self) -> bool:
        """True when nothing waits to be written down."""
        return not self._waiting and not self._storing.locked()

    def add(self, reported: Mapping[ShardKey, int]) -> None:
        """Note how many entries of shards are acknowledged."""
        if reported:
            self._waiting.update(reported)
            self._arrived.set()

    async def run(self, finished: Callable[[int], None]) -> None:
        """Store until cancelled; ``finished`` is told of each campaign with nothing left."""
        backoff = Backoff(first_seconds=0.2, max_seconds=5)
        while True:
            await self._arrived.wait()
            try:
                campaigns = await self._store_waiting()
            except StoreUnavailableError:  # logged by the store
                await asyncio.sleep(backoff.next_seconds())
                continue
            backoff.reset()
            for campaign in campaigns:
                finished(campaign)

    async def _store_waiting(self) -> list[int]:
        async with self._storing:
            self._arrived.clear()
            reported, self._waiting = self._waiting, {}
            try:
                return await self._store.write(partial(outbox.acknowledge, reported=reported))
            except StoreUnavailableError:
                self._waiting = reported | self._waiting
                self._arrived.set()
                raise

    async def bring_back(self, campaign: int) -> None:
        """Count all outcomes of a campaign as unreported: :func:`.outbox.bring_back`.

        What was acknowledged and is not written down yet is void with it.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        async with self._storing:
            await self._store.write(partial(outbox.bring_back, campaign=campaign))
            for key in [key for key in self._waiting if key.campaign == campaign]:
                del self._waiting[key]

    async def adopt(self, generation: str) -> bool:
        """Note which store of the status service holds the results.

        True: it is another one than before. All outcomes of campaigns that are not
        finished, or were lately, count as unreported then, whatever the old store
        acknowledged.
        """
        if not generation or generation == self._generation:
            return False
        async with self._storing:
            replaced = await self._store.write(
                partial(
                    outbox.adopt_generation, generation=generation, replay_days=self._replay_days
                )
            )
            if replaced:
                self._waiting.clear()
            self._generation = generation
        return replaced
