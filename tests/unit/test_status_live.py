"""Watches, and the reads behind them: nothing is missed, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from service_runtime.caller import Caller
from service_runtime.errors import StoreUnavailableError
from status_service.domain import State
from status_service.errors import CampaignNotFoundError, StoreWentBackError
from status_service.live import watchers as watchers_module
from status_service.live.database_listener import _Listener
from status_service.live.looks import Looks
from status_service.live.watch import watch
from status_service.live.watchers import Pacer, Watcher
from status_service.recording import deleted, lookup
from status_service.recording.notifier import Notifier
from status_service.recording.types import CampaignKey, Change, change_of, key_of

_CALLER = Caller("default", "tester")
_PATIENCE_SECONDS = 20.0


def row(campaign_id: str = "a", revision: int = 1, state: State = State.SENDING) -> Any:
    """Return what the database has of a campaign."""
    return SimpleNamespace(
        organisation="default",
        campaign_id=campaign_id,
        state=state.value,
        total=10,
        **dict.fromkeys(("sent", "failed", "skipped", "unknown"), 0),
        revision=revision,
    )


class _Store:
    """A database whose campaigns the test changes."""

    answering = True

    def __init__(self, rows: dict[str, Any]) -> None:
        self.rows = rows
        self.reads: list[int] = []

    async def read(self, work: Any) -> Any:
        keys = work.keywords["keys"]
        missing = {key: CampaignNotFoundError(key.campaign_id) for key in keys}
        if work.func is deleted.refusals:
            return missing
        self.reads.append(len(keys))
        rows = [self.rows[key.campaign_id] for key in keys if key.campaign_id in self.rows]
        return rows if work.func is lookup.get_many else ({key_of(r): r for r in rows}, missing)


@asynccontextmanager
async def looking(
    store: Any, notifier: Notifier, stopping: asyncio.Event | None = None
) -> AsyncIterator[Looks]:
    """Run looks at campaigns."""
    looks = Looks(store, notifier, stopping or asyncio.Event())
    task = asyncio.create_task(looks.run())
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield looks
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_b2_a_watch_that_is_left_leaves_no_task_and_no_listener() -> None:
    """However many come and go, memory does not grow until the service stops."""
    notifier = Notifier()
    async with looking(_Store({"a": row(revision=5)}), notifier) as looks:
        await asyncio.sleep(0)
        before = asyncio.all_tasks()
        for _ in range(3):
            watching: Any = watch(looks, _CALLER, "a")
            assert (await anext(watching)).revision == 5
            assert notifier.keys()
            await watching.aclose()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before
        assert not notifier.keys()
        assert not looks._watched


async def test_s16_a_watch_ends_at_a_lower_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which revision it has shown and which one there is; a new one shows that."""
    monkeypatch.setattr("status_service.live.looks._BETWEEN_SNAPSHOTS", 0.0)
    store = _Store({"a": row(revision=5)})
    notifier = Notifier()
    async with looking(store, notifier) as looks:
        watching = watch(looks, _CALLER, "a")
        assert (await anext(watching)).revision == 5
        store.rows["a"] = row(revision=4)
        notifier.publish([change_of(store.rows["a"])])
        with pytest.raises(StoreWentBackError) as caught:
            await anext(watching)
        assert caught.value.metadata["announced"] == "5"
        again: Any = watch(looks, _CALLER, "a")
        assert (await anext(again)).revision == 4
        await again.aclose()


def listened(names: list[str]) -> tuple[Notifier, list[Change]]:
    """Return a notifier with a listener to each campaign, and what that hears."""
    notifier, heard = Notifier(), list[Change]()
    hear: Callable[[Change], None] = heard.append
    for name in names:
        notifier.add(CampaignKey("default", name), hear)
    return notifier, heard


async def test_changes_of_any_number_of_campaigns_are_published() -> None:
    """They are read some at a time, and none is left out."""
    names = [f"c{number}" for number in range(1_201)]
    notifier, heard = listened(names)
    store: Any = _Store({name: row(name, 3) for name in names})
    await _Listener(store, notifier)._publish(notifier.keys())
    assert sorted(change.key.campaign_id for change in heard) == sorted(names)
    assert sum(store.reads) == len(names)
    assert max(store.reads) < len(names)


async def test_s16_a_read_that_finds_an_older_revision_says_that_the_store_went_back() -> None:
    """Only if the later one was published before the read began: else the read is late."""
    notifier, heard = listened(["a"])
    key = CampaignKey("default", "a")
    store: Any = _Store({"a": row(revision=3)})
    listener = _Listener(store, notifier)
    notifier.publish([change_of(row(revision=5))])
    await listener._publish([key])
    assert [(change.revision, change.went_back_to) for change in heard[1:]] == [(3, 3)]

    class Late(_Store):
        async def read(self, work: Any) -> Any:
            rows = await super().read(work)
            notifier.publish([change_of(row(revision=9))])  # committed since
            return rows

    late: Any = Late({"a": row(revision=8)})
    await _Listener(late, notifier)._publish([key])
    assert [(change.revision, change.went_back_to) for change in heard[2:]] == [
        (9, None),
        (8, None),
    ]


async def test_s16_a_watch_ends_where_the_store_went_back_and_came_further_since() -> None:
    """Its next snapshot has a later revision; what the writer found before does not."""
    store = _Store({"a": row(revision=5)})
    notifier = Notifier()
    async with looking(store, notifier) as looks:
        watching = watch(looks, _CALLER, "a")
        assert (await anext(watching)).revision == 5
        assert notifier.revision(CampaignKey("default", "a")) == 5
        store.rows["a"] = row(revision=6)
        notifier.publish([change_of(row(revision=5)).based_on(4, known=5)])
        with pytest.raises(StoreWentBackError) as caught:
            await anext(watching)
    assert (caught.value.metadata["revision"], caught.value.metadata["announced"]) == ("4", "5")


async def test_s16_a_campaign_that_vanished_counts_as_gone_back() -> None:
    """Announced once, as revision 0; one that was never known is no news."""
    notifier, heard = listened(["a", "b"])
    store: Any = _Store({})
    listener = _Listener(store, notifier)
    notifier.publish([change_of(row(revision=5))])
    for _ in range(2):
        await listener._publish(notifier.keys())
    assert [(change.key.campaign_id, change.revision, change.went_back_to) for change in heard] == [
        ("a", 5, None),
        ("a", 0, 0),
    ]


async def test_s16_a_poll_still_finds_what_a_change_before_it_did_not_show() -> None:
    """A lower revision, of whatever origin, does not replace the one that is known."""
    notifier, heard = listened(["a"])
    store: Any = _Store({"a": row(revision=4)})
    notifier.publish([change_of(row(revision=50)), change_of(row(revision=4))])
    await _Listener(store, notifier)._publish(notifier.keys())
    assert [(change.revision, change.went_back_to) for change in heard] == [
        (50, None),
        (4, None),
        (4, 4),
    ]
    assert notifier.revision(CampaignKey("default", "a")) == 4


async def test_what_this_instance_has_published_is_not_read_again() -> None:
    """A notification of it says nothing new; one of a later revision does, if anybody listens."""
    notifier, _ = listened(["a"])
    store: Any = _Store({"a": row(revision=3)})
    listener = _Listener(store, notifier)
    notifier.publish([change_of(row(revision=2))])
    for notification in ('["default", "a", 1]', '["default", "a", 2]', '["default", "b", 9]'):
        listener._note_change(notification)
    assert not listener._changed
    listener._note_change('["default", "a", 3]')
    assert listener._changed == {CampaignKey("default", "a")}


async def test_counters_are_read_now_and_then_and_states_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came meanwhile is read together, and nothing of it is forgotten."""
    notifier, heard = listened(["a", "b"])
    store: Any = _Store({name: row(name, 9) for name in "ab"})
    listener = _Listener(store, notifier)
    listener._take()  # the first poll
    monkeypatch.setattr("status_service.live.database_listener._BETWEEN_READS", 3_600.0)
    key, other = (CampaignKey("default", name) for name in "ab")
    listener._note_change('["default", "a", 2]')
    listener._next_read = 0.0
    assert listener._take() == [key]
    for notification in ('["default", "a", 3]', '["default", "b", 2]', '["default", "a", 4]'):
        listener._note_change(notification)
        assert listener._take() == []
    for notification in ('["default", "a", 5]', '["default", "a", 5, "PAUSED"]'):
        listener._note_change(notification)
    assert listener._take() == [key]
    assert listener._changed == {other}
    listener._next_read = 0.0
    reading = asyncio.create_task(listener.read())
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not heard:  # noqa: ASYNC110 - nothing else says it
            await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert [(change.key, change.revision) for change in heard] == [(other, 9)]


async def test_a_change_of_counters_is_read_before_the_next_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its notification ends the wait for the poll: once more after each read."""
    monkeypatch.setattr("status_service.live.database_listener._POLL", 3_600.0)
    key = CampaignKey("default", "a")
    notifier = Notifier()
    heard: asyncio.Queue[Change] = asyncio.Queue()
    store: Any = _Store({"a": row(revision=1)})
    listener = _Listener(store, notifier)
    with notifier.listening(key, heard.put_nowait):
        reading = asyncio.create_task(listener.read())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                assert (await heard.get()).revision == 1  # the first poll
                for revision in (2, 3):
                    store.rows["a"] = row(revision=revision)
                    listener._note_change(f'["default", "a", {revision}]')
                    assert (await heard.get()).revision == revision
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize(
    ("connections", "events"),
    [
        ("", []),
        ("lost", ["notifications_lost", "notifications_regained"]),
        ("none", ["notifications_lost", "notifications_regained"]),
        ("lost none none lost none", ["notifications_lost", "notifications_regained"] * 2),
    ],
)
async def test_the_log_says_once_that_notifications_are_lost_and_once_that_they_are_back(
    monkeypatch: pytest.MonkeyPatch, connections: str, events: list[str]
) -> None:
    """The first connection is no news. With each one all is read that may have changed."""
    monkeypatch.setattr("status_service.live.database_listener._RECONNECT", 0.0)
    left, key, listening = connections.split(), CampaignKey("default", "a"), asyncio.Event()
    notifier, _ = listened(["a"])
    listener = _Listener(cast("Any", None), notifier)

    async def notifications(*, lost: bool) -> AsyncIterator[str]:
        assert listener._changed == {key}
        listener._changed.clear()
        yield '["default", "a", 2, "PAUSED"]'
        assert listener._at_once == {key}
        if lost:
            raise StoreUnavailableError("gone")
        listening.set()
        await asyncio.Event().wait()

    @asynccontextmanager
    async def listen(_: str) -> AsyncIterator[AsyncIterator[str]]:
        ends = left.pop(0) if left else ""
        if ends == "none":
            raise StoreUnavailableError("gone")
        async with aclosing(notifications(lost=ends == "lost")) as brought:
            yield brought

    with capture_logs() as logged:
        task = asyncio.create_task(listener.listen(listen))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await listening.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [line["event"] for line in logged] == events


async def test_a_poll_that_fails_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed elsewhere is seen once the database answers again; nothing ends the reads."""
    monkeypatch.setattr("status_service.live.database_listener._POLL", 0.01)
    monkeypatch.setattr("status_service.live.database_listener._BETWEEN_READS", 0.01)
    heard: asyncio.Queue[Change] = asyncio.Queue()

    class Failing(_Store):
        """A database that does not answer the first two reads."""

        failures = 2

        async def read(self, work: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise StoreUnavailableError("gone")
            return await super().read(work)

    notifier, key = Notifier(), CampaignKey("default", "a")
    store: Any = Failing({"a": row(revision=7)})
    with notifier.listening(key, heard.put_nowait), capture_logs() as logged:
        reading = asyncio.create_task(_Listener(store, notifier).read())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                assert (await heard.get()).revision == 7
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    assert [line["event"] for line in logged] == ["change_poll_failed"] * 2


async def test_what_is_shown_at_once_ends_the_pause_between_counters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A change of state does not wait until the next counters may be shown."""
    monkeypatch.setattr(watchers_module, "SNAPSHOTS_A_SECOND", 1 / 3_600)
    pacer, counters, state = Pacer(), Watcher(), Watcher()
    task = asyncio.create_task(pacer.run())
    async with asyncio.timeout(_PATIENCE_SECONDS):
        pacer.show([counters], row(), at_once=False)
        await counters.take()
        await asyncio.sleep(0)
        pacer.show([state], row(revision=2), at_once=True)
        assert (await state.take())[0].revision == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
