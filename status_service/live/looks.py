"""One look at a campaign for all who watch it, by one statement for all that are watched.

A look is made when a campaign changes and, for what nobody announced, once a second. A
change of state is shown at once. Counters are looked at once those of the look before are
shown, so what watching costs does not grow with who watches what.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from service_runtime.errors import ServiceError, ShuttingDownError
from status_service.domain import State
from status_service.live.watchers import Pacer, Watcher
from status_service.recording import deleted, lookup
from status_service.recording.types import CampaignKey, key_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import sqlalchemy as sa

    from service_runtime.database import Store
    from status_service.recording.notifier import Notifier
    from status_service.recording.types import Change

log = structlog.get_logger()

#: At least so long between two looks at counters, seconds.
_BETWEEN_SNAPSHOTS = 0.1
#: A change that was not announced to this process, such as one by hand in the database,
#: is seen after this time, seconds.
_POLL = 1.0
_CAMPAIGNS_A_READ = 500


class _Watched:
    """A campaign that is watched.

    Attributes:
        watchers: all who watch it.
        new: those of them who came since the last look began.
        shown: what all others are shown, or will be; None: some may lack it.
        state: the state that was heard of or seen last.
        went_back: a change since the last look began says that the database went back.
    """

    def __init__(self) -> None:
        self.watchers: set[Watcher] = set()
        self.new: set[Watcher] = set()
        self.shown: sa.Row[Any] | None = None
        self.state: State | None = None
        self.went_back = False


class Looks:
    """Looks at the campaigns that are watched, for all who watch them.

    Args:
        store: the database.
        notifier: announces changes.
        stopping: set when the service stops.
    """

    def __init__(self, store: Store, notifier: Notifier, stopping: asyncio.Event) -> None:
        self._store = store
        self._notifier = notifier
        self._stopping = stopping
        self._pacer = Pacer()
        self._watched: dict[CampaignKey, _Watched] = {}
        self._asked: set[CampaignKey] = set()  # by watchers who are new
        self._at_once: set[CampaignKey] = set()  # for all watchers
        self._changed: set[CampaignKey] = set()
        self._wake = asyncio.Event()
        self._next_counters = self._next_poll = float("-inf")  # on the loop's clock

    @contextmanager
    def watching(self, key: CampaignKey) -> Iterator[Watcher]:
        """Watch a campaign while the block runs.

        The first snapshot is read after that begins. Without a campaign, and when the
        database fails or the service stops, the watch fails.
        """
        watcher = Watcher()
        if self._stopping.is_set():
            watcher.fail(_stopped())
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched()
            self._notifier.add(key, self._on_change)
        watched.watchers.add(watcher)
        watched.new.add(watcher)
        self._asked.add(key)
        self._wake.set()
        try:
            yield watcher
        finally:
            watched.watchers.discard(watcher)
            watched.new.discard(watcher)
            self._pacer.forget(watcher)
            if not watched.watchers:
                del self._watched[key]
                self._notifier.remove(key, self._on_change)

    def _on_change(self, change: Change) -> None:
        watched = self._watched[change.key]
        if change.went_back_to is not None:
            watched.went_back = True
            for watcher in watched.watchers:
                watcher.went_back(change.went_back_to)
        if change.went_back_to is not None or change.state is not watched.state:
            watched.state = change.state
            self._at_once.add(change.key)
            self._wake.set()
        else:
            if not self._changed:
                self._wake.set()
            self._changed.add(change.key)

    async def run(self) -> None:
        """Look and show, until the service stops; then all watches end."""
        showing = asyncio.create_task(self._pacer.run())
        stop = asyncio.create_task(self._stopping.wait())
        stop.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stopping.is_set():
                await self._wait()
                await self._look_at_due()
            for watched in self._watched.values():
                _fail(watched.watchers, _stopped())
        finally:
            for task in (showing, stop):
                task.cancel()
            await asyncio.gather(showing, stop, return_exceptions=True)

    async def _wait(self) -> None:
        """Return when a look may be due."""
        self._wake.clear()
        if self._asked or self._at_once:
            return
        seconds: float | None = None
        if self._watched:
            due = self._next_counters
            if not self._changed:
                due = max(due, self._next_poll)
            seconds = max(0.0, due - asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _look_at_due(self) -> None:
        clock = asyncio.get_running_loop().time
        asked, self._asked = self._asked, set()
        at_once, self._at_once = self._at_once, set()
        counters = set[CampaignKey]()
        if clock() >= self._next_counters:
            counters, self._changed = self._changed, set()
            if clock() >= self._next_poll:
                counters.update(self._watched)
                self._next_poll = clock() + _POLL
        await self._look(at_once, for_all=True, at_once=True)
        await self._look(counters - at_once, for_all=True, at_once=False)
        await self._look(asked - at_once - counters, for_all=False, at_once=True)
        if counters:
            pause = max(_BETWEEN_SNAPSHOTS, self._pacer.seconds_behind)
            self._next_counters = clock() + pause

    async def _look(self, keys: Collection[CampaignKey], *, for_all: bool, at_once: bool) -> None:
        """Read campaigns, and show them to those who are new, or to all."""
        watched = [key for key in keys if key in self._watched]
        for start in range(0, len(watched), _CAMPAIGNS_A_READ):
            looks = [
                _Look(key, self._watched[key])
                for key in watched[start : start + _CAMPAIGNS_A_READ]
                if key in self._watched
            ]
            try:
                rows, refusals = await self._store.read(
                    partial(_find, keys=[look.key for look in looks])
                )
            except Exception as error:
                if not isinstance(error, ServiceError):
                    log.exception("look_failed", campaigns=len(looks))
                for look in looks:
                    _fail(look.came_before(), error)
                continue
            for look in looks:
                if look.key in rows:
                    self._show(look, rows[look.key], for_all=for_all, at_once=at_once)
                else:
                    _fail(look.came_before(), refusals[look.key])

    def _show(self, look: _Look, row: sa.Row[Any], *, for_all: bool, at_once: bool) -> None:
        watched = look.watched
        self._notifier.note(look.key, row.revision)
        watched.state = State(row.state)
        self._pacer.show(look.new & watched.watchers, row, at_once=True)
        others = look.came_before() - look.new
        is_news = row != watched.shown or look.went_back
        if for_all or not others:
            watched.shown = row
            if is_news:
                self._pacer.show(others, row, at_once=at_once)
        elif is_news:
            watched.shown = None
            self._changed.add(look.key)


class _Look:
    """A look at a campaign, from before it is read."""

    def __init__(self, key: CampaignKey, watched: _Watched) -> None:
        self.key = key
        self.watched = watched
        self.new, watched.new = watched.new, set()
        self.went_back, watched.went_back = watched.went_back, False

    def came_before(self) -> set[Watcher]:
        """Return those who watched when the look began, and still do."""
        return self.watched.watchers - self.watched.new


def _find(
    connection: sa.Connection, keys: Sequence[CampaignKey]
) -> tuple[dict[CampaignKey, sa.Row[Any]], Mapping[CampaignKey, ServiceError]]:
    """Return the campaigns that there are, and why the others are not."""
    rows = {key_of(row): row for row in lookup.get_many(connection, keys)}
    missing = [key for key in keys if key not in rows]
    return rows, deleted.refusals(connection, missing) if missing else {}


def _fail(watchers: Collection[Watcher], error: Exception) -> None:
    for watcher in watchers:
        watcher.fail(error)


def _stopped() -> ShuttingDownError:
    return ShuttingDownError("the service stops; watch again elsewhere or later")
