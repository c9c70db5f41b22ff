"""Those who watch campaigns, and the pace at which they are shown snapshots."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    import sqlalchemy as sa

#: So many snapshots are shown in one go; then it is the turn of all else the service does.
_AT_A_TIME = 10
#: As many snapshots of counters a second are shown, to all watchers together.
SNAPSHOTS_A_SECOND = 250


class Watcher:
    """Who watches one campaign: it has the newest snapshot that was not taken."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._snapshot: sa.Row[Any] | None = None
        self._lowest: int | None = None
        self._error: Exception | None = None

    def offer(self, snapshot: sa.Row[Any]) -> None:
        """Replace the snapshot that waits."""
        self._snapshot = snapshot
        self._news.set()

    def went_back(self, revision: int) -> None:
        """Note that the database had this revision although a later one was committed."""
        self._lowest = revision if self._lowest is None else min(revision, self._lowest)

    def fail(self, error: Exception) -> None:
        """End the watch."""
        self._error = error
        self._news.set()

    async def take(self) -> tuple[sa.Row[Any], int]:
        """Return the newest snapshot, once there is one that was not taken.

        Returns:
            It, and the lowest revision that the database is known to have had since the
            snapshot before.

        Raises:
            Exception: whatever ended the watch.
        """
        await self._news.wait()
        if self._error is not None:
            raise self._error
        snapshot = self._snapshot
        if snapshot is None:
            raise RuntimeError("news without a snapshot")
        lowest = snapshot.revision if self._lowest is None else min(self._lowest, snapshot.revision)
        self._snapshot = self._lowest = None
        self._news.clear()
        return snapshot, lowest


class Pacer:
    """Shows snapshots to watchers, a few at a time.

    Each watcher is shown the newest one. What is to be shown at once goes before
    counters, of which so many are shown in a second.
    """

    def __init__(self) -> None:
        self._at_once: dict[Watcher, sa.Row[Any]] = {}
        self._paced: dict[Watcher, sa.Row[Any]] = {}
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()

    def show(self, watchers: Collection[Watcher], snapshot: sa.Row[Any], *, at_once: bool) -> None:
        """Show a snapshot, a newer one than any before, to watchers when it is their turn."""
        for watcher in watchers:
            if at_once or watcher in self._at_once:
                self._paced.pop(watcher, None)
                self._at_once[watcher] = snapshot
            else:
                self._paced[watcher] = snapshot
        if self._at_once:
            self._hurry.set()
        self._some.set()

    def forget(self, watcher: Watcher) -> None:
        """Show nothing more to a watcher."""
        self._at_once.pop(watcher, None)
        self._paced.pop(watcher, None)

    @property
    def seconds_behind(self) -> float:
        """After how many seconds all counters that wait are shown."""
        return len(self._paced) / SNAPSHOTS_A_SECOND

    async def run(self) -> None:
        """Show what is to be shown, for ever."""
        while True:
            if self._at_once:
                _show_some(self._at_once)
                await asyncio.sleep(0)
            elif self._paced:
                self._hurry.clear()
                shown = _show_some(self._paced)
                with suppress(TimeoutError):
                    async with asyncio.timeout(shown / SNAPSHOTS_A_SECOND):
                        await self._hurry.wait()
            else:
                self._some.clear()
                await self._some.wait()


def _show_some(waiting: dict[Watcher, sa.Row[Any]]) -> int:
    """Show some watchers what waits for them, the first ones first; return how many."""
    some = [watcher for watcher, _ in zip(waiting, range(_AT_A_TIME), strict=False)]
    for watcher in some:
        watcher.offer(waiting.pop(watcher))
    return len(some)
