"""Hear of what other instances changed in a database that several share.

The database tells of every change of a campaign by a notification, whoever made it.
A look at what is watched here goes on behind that, so a notification that was lost
with its connection costs a second and no more.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import StoreUnavailableError
from status_service.recording import lookup
from status_service.recording.types import CampaignKey, change_of
from status_service.schema import CHANGED_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service_runtime.database import Store
    from service_runtime.engines import Listen
    from status_service.recording.notifier import Notifier

log = structlog.get_logger()

#: How often what is watched here is looked at without a notification, seconds.
_POLL = 1.0
#: Between two tries to listen, seconds.
_RECONNECT = 0.5
_CAMPAIGNS_A_READ = 500


async def follow(store: Store, changes: Notifier) -> None:
    """Publish what others change, for ever; return at once if nobody else can."""
    if store.listen is None:
        return
    follower = _Follower(store, changes)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follower.hear(store.listen))
        tasks.create_task(follower.look())


class _Follower:
    def __init__(self, store: Store, changes: Notifier) -> None:
        self._store = store
        self._changes = changes
        self._heard: set[CampaignKey] = set()
        self._wake = asyncio.Event()

    async def hear(self, listen: Listen) -> None:
        """Note which campaigns change."""
        lost = False
        while True:
            try:
                async with listen(CHANGED_CHANNEL) as notifications:
                    if lost:
                        log.info("notifications_regained")
                        lost = False
                    self._note(self._changes.keys())  # they may have changed unheard
                    async for notification in notifications:
                        self._note_change(notification)
            except StoreUnavailableError as error:
                if not lost:
                    log.warning("notifications_lost", error=error.message)
                    lost = True
            await asyncio.sleep(_RECONNECT)

    def _note_change(self, notification: str) -> None:
        organisation, campaign_id, revision = json.loads(notification)
        key = CampaignKey(organisation, campaign_id)
        if self._changes.is_news(key, revision):
            self._note([key])

    def _note(self, keys: Iterable[CampaignKey]) -> None:
        self._heard.update(keys)
        self._wake.set()

    async def look(self) -> None:
        """Read and publish what was heard of, or everything that is watched."""
        while True:
            try:
                async with asyncio.timeout(_POLL):
                    await self._wake.wait()
            except TimeoutError:
                self._heard.update(self._changes.keys())
            self._wake.clear()
            keys, self._heard = list(self._heard), set()
            if self._store.answering:
                await self._publish(keys)

    async def _publish(self, keys: Sequence[CampaignKey]) -> None:
        try:
            for start in range(0, len(keys), _CAMPAIGNS_A_READ):
                some = keys[start : start + _CAMPAIGNS_A_READ]
                rows = await self._store.read(partial(lookup.get_many, keys=some))
                self._changes.publish(change_of(row) for row in rows)
        except StoreUnavailableError as error:
            log.warning("look_postponed", error=error.message)
