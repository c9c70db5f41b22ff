"""Publishes what other instances changed in a database that several share.

The database announces every change of a campaign by a notification, whoever made it. A
change of state is read at once, all else ten times a second at most, by one statement.
All watched campaigns are polled as well, so a notification that was lost with its
connection costs a second and no more.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
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
#: At least so long between two reads of what changed but for its state, seconds.
_BETWEEN_READS = 0.1
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
        self._at_once: set[CampaignKey] = set()
        self._wake = asyncio.Event()
        self._next_read = self._next_poll = float("-inf")  # on the loop's clock

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
        organisation, campaign_id, revision, *state = json.loads(notification)
        key = CampaignKey(organisation, campaign_id)
        # The changes of this instance were published already. A revision that is lower
        # because the store went back is left to the poll.
        if self._notifier.is_watched(key) and revision > self._notifier.revision(key):
            if state:
                self._at_once.add(key)
                self._wake.set()
            else:
                self._note([key])

    def _note(self, keys: Iterable[CampaignKey]) -> None:
        if not self._changed:
            self._wake.set()
        self._changed.update(keys)

    async def read(self) -> None:
        """Read and publish the campaigns that changed, or all that are watched."""
        while True:
            await self._due()
            keys = self._take()
            if self._store.answering:
                await self._publish(keys)

    async def _due(self) -> None:
        """Return when a read may be due."""
        self._wake.clear()
        if not self._at_once:
            due = self._next_read if self._changed else max(self._next_read, self._next_poll)
            seconds = max(0.0, due - asyncio.get_running_loop().time())
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    def _take(self) -> list[CampaignKey]:
        """Return which campaigns are to be read now."""
        now = asyncio.get_running_loop().time()
        keys, self._at_once = self._at_once, set()
        if now >= self._next_read:
            if now >= self._next_poll:
                self._changed.update(self._notifier.keys())
                self._next_poll = now + _POLL
            if self._changed:
                keys |= self._changed
                self._changed = set()
                self._next_read = now + _BETWEEN_READS
        self._changed -= keys
        return list(keys)

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
