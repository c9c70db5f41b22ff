"""Keys as they were read from the database, for some seconds, in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from service_runtime.errors import StoreUnavailableError
from status_service.access import key_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service_runtime.database import Store
    from status_service.access.key_store import FoundKey

T = TypeVar("T")

#: As many keys are remembered; the one that was needed longest ago goes first.
MOST_KEYS = 10_000
#: How long a read may take before the database counts as one that does not answer, seconds.
READ_SECONDS = 5.0


class Remembered(NamedTuple):
    """A key, and when it was read on the monotonic clock, seconds."""

    found: FoundKey
    read_at: float


class FoundKeys:
    """Reads keys, each at most once in a while, however many calls need it at once.

    Args:
        store: the database.
        kept_seconds: how long a key is taken for what was read.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self, store: Store, *, kept_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._kept_seconds = kept_seconds
        self._clock = clock
        self._remembered: OrderedDict[str, Remembered] = OrderedDict()
        self._reads: dict[str, asyncio.Task[FoundKey | None]] = {}
        self._keys_exist = False
        self._looked_at = -float("inf")
        self._look: asyncio.Task[bool] | None = None

    def remembered(self, key_id: str) -> FoundKey | None:
        """Return a key as it was read last, however long ago."""
        known = self._remembered.get(key_id)
        return None if known is None else known.found

    def fresh(self, key_id: str) -> FoundKey | None:
        """Return a key that was read a short while ago."""
        known = self._remembered.get(key_id)
        if known is None or self._clock() - known.read_at >= self._kept_seconds:
            return None
        self._remembered.move_to_end(key_id)
        return known.found

    def now(self, key_id: str, found: FoundKey) -> datetime:
        """Return about what the database's clock shows, of which ``found`` has an older time."""
        known = self._remembered.get(key_id)
        if known is None or known.found is not found:
            return found.read_time
        return found.read_time + timedelta(seconds=self._clock() - known.read_at)

    async def read(self, key_id: str) -> FoundKey | None:
        """Read a key from the database, together with whoever reads it now.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        task = self._reads.get(key_id)
        if task is None:
            task = asyncio.create_task(self._read(key_id), name="read key")
            self._reads[key_id] = task
            task.add_done_callback(partial(self._end_read, key_id))
        return await _within_time(task)

    @property
    def reading(self) -> int:
        """How many keys are being read now."""
        return len(self._reads)

    async def _read(self, key_id: str) -> FoundKey | None:
        begin = self._clock()
        found = await self._store.read(partial(key_store.find, key_id=key_id))
        # A read that began before a change is not remembered: see forget.
        if found is not None and self._reads.get(key_id) is asyncio.current_task():
            self._keys_exist = True
            self._remembered[key_id] = Remembered(found, begin)
            self._remembered.move_to_end(key_id)
            if len(self._remembered) > MOST_KEYS:
                self._remembered.popitem(last=False)
        return found

    def _end_read(self, key_id: str, task: asyncio.Task[FoundKey | None]) -> None:
        if self._reads.get(key_id) is task:
            del self._reads[key_id]
        _retrieve(task)

    def forget(self, key_id: str) -> None:
        """Read a key again when it is needed next; a read that runs counts no more."""
        self._remembered.pop(key_id, None)
        self._reads.pop(key_id, None)

    def made(self) -> None:
        """Take note that a key was made here: nobody is served without one any more."""
        self._keys_exist = True

    async def exist(self) -> bool:
        """Return whether any key was ever made; once true, it is for good.

        Raises:
            StoreUnavailableError: the database does not answer, and so nobody knows.
        """
        if self._keys_exist or self._clock() - self._looked_at < self._kept_seconds:
            return self._keys_exist
        if self._look is None:
            self._look = asyncio.create_task(self._look_for_any(), name="look for keys")
            self._look.add_done_callback(self._end_look)
        return await _within_time(self._look)

    async def _look_for_any(self) -> bool:
        begin = self._clock()
        if await self._store.read(key_store.exist):
            self._keys_exist = True
        self._looked_at = begin
        return self._keys_exist

    def _end_look(self, task: asyncio.Task[bool]) -> None:
        self._look = None
        _retrieve(task)


async def _within_time(task: asyncio.Task[T]) -> T:
    """Wait for a read, which goes on for others if this caller leaves.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await asyncio.shield(task)
    except TimeoutError as error:
        raise StoreUnavailableError(
            f"the database did not say within {READ_SECONDS:.0f} s who calls; try again",
            retry_after_seconds=1.0,
        ) from error


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Mark the failure of a read as known: who waited for it got it, and the store logged it."""
    if not task.cancelled():
        task.exception()
