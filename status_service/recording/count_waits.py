"""Frames that fill a large campaign wait until its results are counted; nobody else does.

The count runs on a snapshot, in the lane of long reads, while the writer goes on with the
frames of other campaigns. Then the frames are recorded with it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import ShuttingDownError, StoreUnavailableError
from status_service.recording import counting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from service_runtime.database import Store
    from status_service.recording.counting import Count
    from status_service.recording.types import CampaignKey, Entry

log = structlog.get_logger()

#: The wait after a count that failed, seconds.
_BACKOFF = 1.0


class CountWaits:
    """Counts campaigns for a writer, and returns their frames to it.

    Args:
        store: the database.
        write: records frames with the counts of their campaigns; those that wait for
            another count it returns by :meth:`add`.
        fail: fails the receipt of a frame that is given up.
        done: is called when so many frames are recorded, refused or failed.
        stopping: set when what waits is to be given up.
    """

    def __init__(
        self,
        store: Store,
        *,
        write: Callable[[Sequence[Entry], Mapping[CampaignKey, Count]], Awaitable[int]],
        fail: Callable[[Entry, Exception], None],
        done: Callable[[int], None],
        stopping: asyncio.Event,
    ) -> None:
        self._store = store
        self._write = write
        self._fail = fail
        self._done = done
        self._stopping = stopping
        self._entries: dict[CampaignKey, list[Entry]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many frames wait for a count."""
        return sum(map(len, self._entries.values()))

    def add(self, entries: Sequence[Entry], campaigns: Mapping[CampaignKey, int]) -> None:
        """Let frames wait for the counts of their campaigns, which begin now.

        Args:
            entries: the frames.
            campaigns: the numbers of all their campaigns.
        """
        for entry in entries:
            key = entry.frame.key
            if key in self._entries:
                self._entries[key].append(entry)
                continue
            self._entries[key] = [entry]
            task = asyncio.create_task(self._run(key, campaigns[key]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def fewer_than(self, most: int) -> None:
        """Wait until fewer than ``most`` frames wait: memory is bounded."""
        while self.waiting >= most and self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """End the counts that run; called when nobody waits for a frame any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: CampaignKey, number: int) -> None:
        try:
            count = await self._count(number)
        except Exception as error:
            if not isinstance(error, ShuttingDownError):
                log.exception("count_failed", campaign_id=key.campaign_id)
            entries = self._entries.pop(key)
            for entry in entries:
                self._fail(entry, error)
            self._done(len(entries))
            return
        # Frames that come from now on decide for themselves.
        entries = self._entries.pop(key)
        self._done(await self._write(entries, {} if count is None else {key: count}))

    async def _count(self, number: int) -> Count | None:
        """Count, again and again until the database answers or the service stops."""
        stopping = asyncio.create_task(self._stopping.wait())
        counting_it = None
        try:
            while not self._stopping.is_set():
                counting_it = asyncio.create_task(
                    self._store.read_long(partial(counting.count_by_number, number=number))
                )
                await asyncio.wait([counting_it, stopping], return_when=asyncio.FIRST_COMPLETED)
                if counting_it.done():
                    try:
                        return counting_it.result()
                    except StoreUnavailableError as error:
                        log.warning("count_postponed", campaign=number, error=error.message)
                        await asyncio.wait([stopping], timeout=_BACKOFF)
        finally:
            for task in (stopping, counting_it):
                if task is not None:
                    task.cancel()
        raise ShuttingDownError("the service stops and could not store this; send it again")
