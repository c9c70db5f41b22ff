"""One look serves all who watch: nobody goes back, lacks the last change, or holds up others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from service_runtime.caller import Caller
from service_runtime.errors import ShuttingDownError, StoreUnavailableError
from status_service.domain import State
from status_service.errors import CampaignNotFoundError
from status_service.live import looks as looks_module
from status_service.live import watchers as watchers_module
from status_service.live.looks import Looks
from status_service.live.watch import watch
from status_service.live.watchers import Pacer, Watcher
from status_service.recording.notifier import Notifier
from status_service.recording.types import CampaignKey, change_of

_CALLER = Caller("default", "tester")
_PATIENCE_SECONDS = 20.0
_NEVER = 3_600.0


class Played:
    """Watches of campaigns whose database and changes the test plays.

    Nothing is looked at but for a reason that the test gives: no poll comes.
    """

    answering = True

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.reads: list[list[str]] = []
        self.error: Exception | None = None
        self.errors: list[Exception] = []  # one for each of the next reads
        self.reading = asyncio.Event()
        self.reading.set()
        self.notifier = Notifier()
        self.stopping = asyncio.Event()
        store: Any = self
        self.looks = Looks(store, self.notifier, self.stopping)

    async def read(self, work: Any) -> Any:
        """Return the rows that are there when the read begins, and why others are not."""
        names = [key.campaign_id for key in work.keywords["keys"]]
        self.reads.append(names)
        keys = work.keywords["keys"]
        found = {key: self.rows[key.campaign_id] for key in keys if key.campaign_id in self.rows}
        await self.reading.wait()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if self.errors:
            raise self.errors.pop()
        return found, {key: CampaignNotFoundError(key.campaign_id) for key in keys}

    def set(
        self, revision: int, *, name: str = "a", state: State = State.SENDING, silent: bool = False
    ) -> None:
        """Change a campaign, and announce it unless ``silent``."""
        self.rows[name] = SimpleNamespace(
            organisation="default",
            campaign_id=name,
            state=state.value,
            total=1_000,
            sent=revision,
            failed=0,
            skipped=0,
            unknown=0,
            revision=revision,
        )
        if not silent:
            self.notifier.publish([change_of(self.rows[name])])

    def watch(self, name: str = "a") -> Any:
        """Watch a campaign."""
        return aclosing(watch(self.looks, _CALLER, name))  # type: ignore[type-var]


@pytest.fixture
async def played(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Played]:
    """Run looks for the length of a test."""
    monkeypatch.setattr(looks_module, "_POLL", _NEVER)
    async with playing() as played:
        yield played


@asynccontextmanager
async def playing() -> AsyncIterator[Played]:
    """Run looks."""
    played = Played()
    task = asyncio.create_task(played.looks.run())
    try:
        yield played
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def shown(watching: Any) -> Any:
    """Return the next snapshot of a watch, or fail with what ends it."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return await anext(watching)


async def settled(turns: int = 50) -> None:
    """Let all others run until they wait."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_one_read_serves_all_who_watch(played: Played) -> None:
    """However many there are, and each of them sees the change."""
    played.set(1)

    async def until_paused() -> list[int]:
        seen = []
        async with played.watch() as watching:
            async for campaign in watching:
                seen.append(campaign.revision)
                if campaign.state == State.PAUSED.value:
                    break
        return seen

    watchers = [asyncio.create_task(until_paused()) for _ in range(200)]
    await settled()
    assert len(played.looks._watched[CampaignKey("default", "a")].watchers) == 200
    before = len(played.reads)
    assert before < 10  # those who come at once share it as well
    played.set(2, state=State.PAUSED)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        assert await asyncio.gather(*watchers) == [[1, 2]] * 200
    assert len(played.reads) == before + 1


async def test_idle_campaigns_are_looked_at_by_one_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody announced is found, with one read of all that are watched."""
    monkeypatch.setattr(looks_module, "_POLL", 0.0)
    monkeypatch.setattr(looks_module, "_BETWEEN_SNAPSHOTS", 0.001)
    async with playing() as played:
        names = [f"c{number}" for number in range(20)]
        for name in names:
            played.set(1, name=name)
        watchings = [watch(played.looks, _CALLER, name) for name in names]
        for watching in watchings:
            assert (await shown(watching)).revision == 1
        for name in names:
            played.set(2, name=name, silent=True)
        for watching in watchings:
            assert (await shown(watching)).revision == 2
        assert [len(read) for read in played.reads][-1] == len(names)


async def test_any_number_of_watched_campaigns_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some at a time, and none is left out."""
    monkeypatch.setattr(looks_module, "_CAMPAIGNS_A_READ", 7)
    names = [f"c{number}" for number in range(20)]
    async with playing() as played:
        for name in names:
            played.set(1, name=name)
        watchings = [watch(played.looks, _CALLER, name) for name in names]
        for first in asyncio.as_completed([shown(watching) for watching in watchings]):
            assert (await first).revision == 1
        for name in names:
            played.set(2, name=name, state=State.PAUSED)
        for watching in watchings:
            assert (await shown(watching)).revision == 2
    assert max(len(read) for read in played.reads) == 7


async def test_s16_the_first_snapshot_was_read_after_the_watch_began(played: Played) -> None:
    """It is no older one that others were shown: its reader may know the newer one already."""
    played.set(1)
    async with played.watch() as first, played.watch() as second:
        assert (await shown(first)).revision == 1
        played.set(2, silent=True)
        assert (await shown(second)).revision == 2
        # The look for the newer one found what the other one lacks.
        assert (await shown(first)).revision == 2


async def test_s16_who_comes_during_a_look_is_looked_for_again(played: Played) -> None:
    """The read that is on its way began before it came, and may be old."""
    played.set(1)
    async with played.watch() as first, played.watch() as second:
        assert (await shown(first)).revision == 1
        played.reading.clear()
        played.set(2, state=State.PAUSED)
        await settled()
        assert len(played.reads) == 2
        coming = asyncio.ensure_future(shown(second))
        await settled()
        played.set(3, state=State.PAUSED, silent=True)
        played.reading.set()
        assert (await coming).revision == 3


async def test_b3_who_comes_hurries_nobody_who_was_there(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read for a new watcher is one more change of counters to the others."""
    monkeypatch.setattr(looks_module, "_BETWEEN_SNAPSHOTS", _NEVER)
    played.set(1)
    async with played.watch() as first, played.watch() as second:
        assert (await shown(first)).revision == 1
        waiting = asyncio.ensure_future(shown(first))
        played.set(2, silent=True)
        assert (await shown(second)).revision == 2
        await settled()
        assert not waiting.done()
        played.set(3, state=State.PAUSED)
        assert (await waiting).revision == 3


async def test_counters_are_spaced_out_and_the_last_ones_come(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of changes that come together one snapshot is shown: the last."""
    monkeypatch.setattr(looks_module, "_BETWEEN_SNAPSHOTS", 0.05)
    played.set(1)
    async with played.watch() as watching:
        assert (await shown(watching)).revision == 1
        seen = []
        for revision in range(2, 1_002):
            played.set(revision)
            if revision % 100 == 0:
                await settled(5)
        while not seen or seen[-1] < 1_001:
            seen.append((await shown(watching)).revision)
        assert len(seen) < 100
        assert len(played.reads) < 100


@pytest.mark.parametrize("state", [State.PAUSED, State.COMPLETED])
async def test_a_change_of_state_does_not_wait_for_the_pace_of_counters(
    played: Played, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """However long counters wait, a pause and the end are shown at once."""
    monkeypatch.setattr(looks_module, "_BETWEEN_SNAPSHOTS", _NEVER)
    played.set(1)
    async with played.watch() as watching:
        assert (await shown(watching)).revision == 1
        played.set(2)
        played.set(3, state=state)
        assert (await shown(watching)).revision == 3
        if state is State.COMPLETED:
            assert [one async for one in watching] == []
            assert not played.looks._watched


async def test_b3_counters_keep_their_pace_however_many_watch(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are shown in one go, and those who wait for their turn see a change of state first."""
    monkeypatch.setattr(looks_module, "_BETWEEN_SNAPSHOTS", 0.0)
    monkeypatch.setattr(watchers_module, "SNAPSHOTS_A_SECOND", 1 / _NEVER)
    played.set(1)
    seen: dict[int, tuple[int, ...]] = dict.fromkeys(range(30), ())

    async def follow(watcher: int) -> None:
        async with played.watch() as watching:
            async for campaign in watching:
                seen[watcher] = (*seen[watcher], campaign.revision)

    following = [asyncio.create_task(follow(watcher)) for watcher in seen]
    await settled()
    assert set(seen.values()) == {(1,)}
    played.set(2)
    await settled()
    assert 0 < list(seen.values()).count((1, 2)) < 15
    played.set(3, state=State.COMPLETED)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await asyncio.gather(*following)
    assert set(seen.values()) == {(1, 2, 3), (1, 3)}


async def test_a_slow_watcher_gets_the_newest_snapshot(played: Played) -> None:
    """Those it did not take are gone, and nobody waited for it."""
    played.set(1)
    async with played.watch() as slow, played.watch() as quick:
        for watching in (slow, quick):
            assert (await shown(watching)).revision == 1
        for revision, state in ((2, State.PAUSED), (3, State.SENDING), (4, State.PAUSED)):
            played.set(revision, state=state)
            assert (await shown(quick)).revision == revision
        assert (await shown(slow)).revision == 4


async def test_a_look_that_fails_ends_its_watches_and_no_later_one(played: Played) -> None:
    """Whoever watches is answered that the database does not answer, and may come again."""
    played.set(1)
    for error in (StoreUnavailableError("gone; try again"), ZeroDivisionError()):
        async with played.watch() as watching:
            assert (await shown(watching)).revision == 1
            played.error = error
            played.notifier.publish([change_of(played.rows["a"])])
            played.set(1, state=State.PAUSED)
            with pytest.raises(type(error)):
                await shown(watching)
        played.error = None
        played.set(1)
    assert not played.looks._watched


async def test_l5_a_read_that_fails_keeps_no_other_campaign_from_being_looked_at(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that are read some at a time, the ones of the failed read end alone."""
    monkeypatch.setattr(looks_module, "_CAMPAIGNS_A_READ", 1)
    watchings = []
    for name in "abc":
        played.set(1, name=name)
        watchings.append(watch(played.looks, _CALLER, name))
        assert (await shown(watchings[-1])).revision == 1
    played.errors.append(StoreUnavailableError("gone; try again"))
    for name in "abc":
        played.set(2, name=name, state=State.PAUSED)
    found = await asyncio.gather(*map(shown, watchings), return_exceptions=True)
    seen = [getattr(one, "revision", type(one)) for one in found]
    assert sorted(seen, key=str) == [2, 2, StoreUnavailableError]
    for watching in watchings:
        await watching.aclose()


async def test_a_watch_of_nothing_leaves_nothing(played: Played) -> None:
    """It is not found, whether others look at the same time or not."""
    played.set(1)
    async with played.watch() as other:
        assert (await shown(other)).revision == 1
        with pytest.raises(CampaignNotFoundError):
            await shown(watch(played.looks, _CALLER, "b"))
    assert not played.looks._watched
    assert not played.notifier.keys()


async def test_all_watches_end_with_the_service(played: Played) -> None:
    """Those that are open, and one that comes after that."""
    played.set(1)
    async with played.watch() as watching:
        assert (await shown(watching)).revision == 1
        played.stopping.set()
        for one in (watching, watch(played.looks, _CALLER, "a")):
            with pytest.raises(ShuttingDownError):
                await shown(one)


async def test_what_is_shown_at_once_goes_before_counters() -> None:
    """Counters of many watchers do not hold up a change of state; nobody gets both."""
    pacer = Pacer()
    old, new = (SimpleNamespace(revision=revision) for revision in (1, 2))
    many = [Watcher() for _ in range(100)]
    one = many[-1]
    pacer.show(many, old, at_once=False)  # type: ignore[arg-type]
    assert pacer.seconds_behind > 0
    pacer.show([one], new, at_once=True)  # type: ignore[arg-type]
    pacer.forget(many[-2])
    task = asyncio.create_task(pacer.run())
    async with asyncio.timeout(_PATIENCE_SECONDS):
        assert (await one.take())[0].revision == 2
        for watcher in many[:-2]:
            assert (await watcher.take())[0].revision == 1
        # Counters that come while something waits to be shown at once replace it.
        pacer.show([one], old, at_once=True)  # type: ignore[arg-type]
        pacer.show([one], new, at_once=False)  # type: ignore[arg-type]
        assert (await one.take())[0].revision == 2
    assert not pacer.seconds_behind
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
