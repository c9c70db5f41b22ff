"""Publishes what other instances changed in a database that several share.

The database announces every change of a campaign by a notification, whoever made it.
All watched campaigns are polled as well, so a notification that was lost with its
connection costs a second and no more.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import StoreUnavailableError
from status_service.errors import CampaignDeletedError
from status_service.recording import deleted, lookup
from status_service.recording.types import CampaignKey, change_of, vanished_campaign
from status_service.schema import CHANGED_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service_runtime.database import Store
    from service_runtime.engines import Listen
    from status_service.recording.notifier import Notifier

log = structlog.get_logger()

#: How often all watched campaigns are read, notified or not, seconds.
_POLL = 1.0
#: Between two tries to listen, seconds.
_RECONNECT = 0.5
_CAMPAIGNS_A_READ = 500


async def follow(store: Store, notifier: Notifier) -> None:
    """Publish what others change, for ever; return at once if nobody else can."""
    if store.listen is None:
        return
    listener = _Listener(store, notifier)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.listen(store.listen))
        tasks.create_task(listener.read())


class _Listener:
    def __init__(self, store: Store, notifier: Notifier) -> None:
        self._store = store
        self._notifier = notifier
        self._changed: set[CampaignKey] = set()
        self._wake = asyncio.Event()

    async def listen(self, listen: Listen) -> None:
        """Note which campaigns change."""
        lost = False
        while True:
            try:
                async with listen(CHANGED_CHANNEL) as notifications:
                    if lost:
                        log.info("notifications_regained")
                        lost = False
                    self._note(self._notifier.keys())  # they may have changed unnoticed
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
        # The changes of this instance were published already. A revision that is lower
        # because the store went back is left to the poll.
        if self._notifier.is_watched(key) and revision > self._notifier.revision(key):
            self._note([key])

    def _note(self, keys: Iterable[CampaignKey]) -> None:
        self._changed.update(keys)
        self._wake.set()

    async def read(self) -> None:
        """Read and publish the campaigns that changed, or all that are watched."""
        while True:
            try:
                async with asyncio.timeout(_POLL):
                    await self._wake.wait()
            except TimeoutError:
                self._changed.update(self._notifier.keys())
            self._wake.clear()
            keys, self._changed = list(self._changed), set()
            if self._store.answering:
                await self._publish(keys)

    async def _publish(self, keys: Sequence[CampaignKey]) -> None:
        try:
            for start in range(0, len(keys), _CAMPAIGNS_A_READ):
                part = keys[start : start + _CAMPAIGNS_A_READ]
                known = {key: self._notifier.revision(key) for key in part}
                rows = await self._store.read(partial(lookup.get_many, keys=part))
                # What was known was committed before this read began.
                changes = [change_of(row) for row in rows]
                vanished = set(part).difference(change.key for change in changes)
                lost = [key for key in part if key in vanished and known[key]]
                if lost:  # deleted on purpose, or the database went back
                    gone = await self._store.read(partial(deleted.refusals, keys=lost))
                    lost = [k for k in lost if not isinstance(gone[k], CampaignDeletedError)]
                changes += [vanished_campaign(key) for key in lost]
                self._notifier.publish(
                    change.based_on(change.revision, known=known[change.key]) for change in changes
                )
        except StoreUnavailableError as error:
            log.warning("change_poll_failed", error=error.message)
