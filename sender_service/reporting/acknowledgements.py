"""Write down how far the status service has acknowledged the outbox."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from sender_service.domain import Backoff
from sender_service.store import campaigns, outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from sender_service.domain import State
    from sender_service.store.outbox import ShardKey
    from service_runtime.database import Store


class Acknowledgements:
    """Stores what a stream brings, everything that came in meanwhile at once.

    What is lost here with the process is acknowledged again after a replay.

    Args:
        store: the sender's.
        replay_days: how long after its end a campaign is reported to another store.
    """

    def __init__(self, store: Store, *, replay_days: int) -> None:
        self._store = store
        self._replay_days = replay_days
        self._reported: dict[ShardKey, int] = {}
        self._complete: set[int] = set()
        self._states: dict[int, State] = {}
        self._arrived = asyncio.Event()
        self._storing = asyncio.Lock()
        self._generation = ""

    @property
    def all_stored(self) -> bool:
        """True when nothing waits to be written down."""
        waiting = self._reported or self._complete or self._states
        return not waiting and not self._storing.locked()

    def add(self, reported: Mapping[ShardKey, int]) -> None:
        """Note how many entries of shards are acknowledged."""
        if reported:
            self._reported.update(reported)
            self._arrived.set()

    def add_complete(self, campaign: int) -> None:
        """Note that nothing of a campaign may be left to acknowledge."""
        self._complete.add(campaign)
        self._arrived.set()

    def add_state(self, campaign: int, state: State) -> None:
        """Note the state of a campaign, for people who read the store."""
        self._states[campaign] = state
        self._arrived.set()

    async def store(self) -> list[int]:
        """Wait for something to store, and store it; return the campaigns finished by that."""
        backoff = Backoff(first_seconds=0.2, max_seconds=5)
        while True:
            await self._arrived.wait()
            try:
                return await self._store_waiting()
            except StoreUnavailableError:  # logged by the store
                await asyncio.sleep(backoff.next_seconds())

    async def _store_waiting(self) -> list[int]:
        async with self._storing:
            self._arrived.clear()
            reported, complete, states = self._reported, self._complete, self._states
            self._reported, self._complete, self._states = {}, set(), {}

            def work(connection: sa.Connection) -> list[int]:
                for campaign, state in states.items():
                    campaigns.store_state(connection, campaign, state)
                return outbox.acknowledge(connection, reported, also=complete)

            try:
                return await self._store.write(work)
            except StoreUnavailableError:
                self._reported = reported | self._reported
                self._complete |= complete
                self._states = states | self._states
                self._arrived.set()
                raise

    async def bring_back(self, campaign: int) -> None:
        """Count all outcomes of a campaign as unreported: :func:`.outbox.bring_back`.

        Acknowledgements that are not written down yet are void with that.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        async with self._storing:
            await self._store.write(partial(outbox.bring_back, campaign=campaign))
            for key in [key for key in self._reported if key.campaign == campaign]:
                del self._reported[key]

    async def adopt(self, generation: str) -> bool:
        """Note which store of the status service holds the results.

        True: another one than before. All outcomes of campaigns that are not finished,
        or were lately, count as unreported then, whatever the old store acknowledged.

        Raises:
            StoreUnavailableError: the store does not answer.
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
                self._reported.clear()
            self._generation = generation
        return replaced
