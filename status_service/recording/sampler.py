"""Notes the counters of campaigns that change, every ten seconds.

A pass costs what changed since the one before: what did not, and what has ended, costs
nothing. It reads beside the writer, and takes its place for a few rows at a time. Each
process notes what it stored itself; at its start it looks at all open campaigns once, for
what a process that was killed did not note.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import StoreUnavailableError
from status_service.recording import samples
from status_service.recording.thinning import SAMPLE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service_runtime.database import Store
    from status_service.recording.notifier import Notifier
    from status_service.recording.types import CampaignKey

log = structlog.get_logger()

#: Campaigns of one read, and of one write.
_CAMPAIGNS_AT_ONCE = 100


class Sampler:
    """Notes samples of the campaigns that a notifier announces.

    Args:
        store: the database.
        notifier: announces every campaign that changed.
    """

    def __init__(self, store: Store, notifier: Notifier) -> None:
        self._store = store
        self._changed = notifier.changed
        self._looked_at_open = False

    async def run(self) -> None:
        """Note samples every ten seconds, for ever."""
        while True:
            try:
                await self.note()
            except StoreUnavailableError as error:
                log.warning("samples_postponed", error=error.message)
            await asyncio.sleep(SAMPLE_INTERVAL.total_seconds())

    async def note(self) -> None:
        """Note a sample of each campaign whose counters changed since its last one.

        Raises:
            StoreUnavailableError: the database does not answer, or somebody holds a lock; the
                next pass goes on.
        """
        if not self._looked_at_open:
            self._changed.update(await self._store.read(samples.open_campaigns))
            self._looked_at_open = True
        keys = sorted(self._changed)
        for start in range(0, len(keys), _CAMPAIGNS_AT_ONCE):
            await self._note(keys[start : start + _CAMPAIGNS_AT_ONCE])

    async def _note(self, keys: Sequence[CampaignKey]) -> None:
        # Before they are read: what changes from now on is left to the next pass.
        self._changed.difference_update(keys)
        done = False
        young: Sequence[CampaignKey] = keys
        try:
            due, young = await self._store.read(partial(samples.due, keys=keys))
            done = not due or await self._store.write(partial(samples.note, new=due))
        finally:
            self._changed.update(young if done else keys)
