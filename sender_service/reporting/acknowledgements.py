"""Write down how far the status service has acknowledged the outbox."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from sender_service.domain import Backoff
from sender_service.store import campaigns, outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping

    import sqlalchemy as sa

    from sender_service.domain import State
    from sender_service.store.outbox import ShardKey
    from service_runtime.database import Store

#: Between two tries to store what was acknowledged, seconds.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.2, 5.0


class Acknowledgements:
    """Stores what the streams bring, everything that came in meanwhile at once.

    One for all organisations, so that the number of transactions does not grow with theirs.

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
        #: The store that has the results, by organisation.
        self._generations: dict[str, str] = {}
        #: Organisations that do not know yet that their results are in another store.
        self._replaced: set[str] = set()

    @property
    def all_stored(self) -> bool:
        """True when nothing waits to be written down."""
        waiting = self._reported or self._complete or self._states
        return not waiting and not self._storing.locked()

    def add(self, reported: Mapping[ShardKey, int]) -> None:
        """Note how many entries of shards are acknowledged."""
        if reported:
            for key, through in reported.items():
                # Those of the last frames stand last: campaigns end in this order.
                self._reported.pop(key, None)
                self._reported[key] = through
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
        backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
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
        await _whole(self._bring_back(campaign))

    async def _bring_back(self, campaign: int) -> None:
        async with self._storing:
            await self._store.write(partial(outbox.bring_back, campaign=campaign))
            self._forget({campaign})

    async def adopt(self, organisation: str, generation: str) -> bool:
        """Note which store of the status service holds the results of an organisation.

        True: another one than before. All outcomes of its campaigns that are not finished,
        or were lately, count as unreported then, whatever the old store acknowledged.
        Repeated until the caller has the answer, also where a call is cancelled.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if generation and generation != self._generations.get(organisation):
            await _whole(self._adopt(organisation, generation))
        replaced = organisation in self._replaced
        self._replaced.discard(organisation)
        return replaced

    async def _adopt(self, organisation: str, generation: str) -> None:
        async with self._storing:
            brought_back = await self._store.write(
                partial(
                    outbox.adopt_generation,
                    organisation=organisation,
                    generation=generation,
                    replay_days=self._replay_days,
                )
            )
            if brought_back is not None:
                self._forget(brought_back)
                self._replaced.add(organisation)
            self._generations[organisation] = generation

    def _forget(self, campaigns_brought_back: Collection[int]) -> None:
        numbers = set(campaigns_brought_back)
        for key in [key for key in self._reported if key.campaign in numbers]:
            del self._reported[key]


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` to its end, also where its caller is cancelled: store and memory agree."""
    task = asyncio.ensure_future(work)
    # Where nobody waits any more, the store has logged the failure.
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    await asyncio.shield(task)
