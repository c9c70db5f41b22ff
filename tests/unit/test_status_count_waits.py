"""Frames that fill a large campaign wait for a count; each of them is recorded or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from service_runtime.errors import ShuttingDownError, StoreUnavailableError
from status_service.recording import count_waits
from status_service.recording.count_waits import CountWaits
from status_service.recording.types import CampaignKey

_PATIENCE_SECONDS = 20.0
_A, _B = CampaignKey("default", "a"), CampaignKey("default", "b")
_NUMBERS = {_A: 1, _B: 2}


def entry(key: CampaignKey) -> Any:
    """Return a frame that waits."""
    return SimpleNamespace(frame=SimpleNamespace(key=key))


class Counted:
    """A writer whose counts the test answers, and what became of its frames.

    ``answers`` has, by the number of a campaign, what its next counts come to.
    """

    def __init__(self) -> None:
        self.answers: dict[int, list[Any]] = {1: [], 2: []}
        self.may_count = asyncio.Event()
        self.counts = 0
        self.written: list[tuple[list[Any], dict[CampaignKey, Any]]] = []
        self.failed: list[tuple[Any, Exception]] = []
        self.done = 0
        self.stopping = asyncio.Event()
        store: Any = self
        self.waits = CountWaits(
            store,
            write=self._write,
            fail=lambda entry, error: self.failed.append((entry, error)),
            done=self._done,
            stopping=self.stopping,
        )

    async def read_long(self, work: Any) -> Any:
        """Count a campaign."""
        self.counts += 1
        await self.may_count.wait()
        answer = self.answers[work.keywords["number"]].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _write(self, entries: Sequence[Any], counts: Mapping[CampaignKey, Any]) -> int:
        self.written.append((list(entries), dict(counts)))
        return len(entries)

    def _done(self, number: int) -> None:
        self.done += number

    async def ended(self) -> None:
        """Wait until nothing waits any more."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.waits.fewer_than(1)


@asynccontextmanager
async def counted() -> AsyncIterator[Counted]:
    made = Counted()
    yield made
    await made.waits.close()


async def test_the_frames_of_a_campaign_are_recorded_with_one_count() -> None:
    """Those that come while it runs as well; another campaign has a count of its own."""
    async with counted() as writer:
        writer.answers = {1: ["count of a"], 2: [None]}
        first, second, other = entry(_A), entry(_A), entry(_B)
        writer.waits.add([first, other], _NUMBERS)
        await asyncio.sleep(0)
        writer.waits.add([second], _NUMBERS)
        assert writer.waits.waiting == 3
        writer.may_count.set()
        await writer.ended()
        assert ([first, second], {_A: "count of a"}) in writer.written
        assert ([other], {}) in writer.written, "there is nothing to count any more"
        assert (writer.counts, writer.done, writer.failed) == (2, 3, [])


async def test_b2_who_brings_more_waits_while_too_many_wait() -> None:
    """Until one campaign is counted, and its frames are recorded."""
    async with counted() as writer:
        writer.answers[1].append("count of a")
        writer.waits.add([entry(_A), entry(_A)], _NUMBERS)
        await writer.waits.fewer_than(3)
        waiting = asyncio.create_task(writer.waits.fewer_than(2))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        writer.may_count.set()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await waiting
        assert not writer.waits.waiting


async def test_s15_a_count_that_the_database_did_not_answer_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is refused meanwhile."""
    monkeypatch.setattr(count_waits, "_BACKOFF", 0.0)
    async with counted() as writer:
        gone = StoreUnavailableError("gone")
        writer.answers[1] = [gone, gone, "count of a"]
        writer.may_count.set()
        writer.waits.add([entry(_A)], _NUMBERS)
        await writer.ended()
        assert [counts for _, counts in writer.written] == [{_A: "count of a"}]
        assert (writer.counts, writer.done, writer.failed) == (3, 1, [])


@pytest.mark.parametrize("fails", [False, True], ids=["while it counts", "between two counts"])
async def test_l7_a_stop_gives_up_what_waits(*, fails: bool) -> None:
    """Nobody says that it is stored, and it does not keep the process."""
    async with counted() as writer:
        if fails:
            writer.answers[1] = [StoreUnavailableError("gone")]
            writer.may_count.set()
        one = entry(_A)
        writer.waits.add([one], _NUMBERS)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not writer.failed
        writer.stopping.set()
        await writer.ended()
        assert writer.done == 1
        assert not writer.written
        ((given_up, error),) = writer.failed
        assert given_up is one
        assert isinstance(error, ShuttingDownError)


async def test_a_count_that_runs_ends_with_the_writer() -> None:
    """Nobody waits for its frames any more, and the database may never answer."""
    async with counted() as writer, asyncio.timeout(_PATIENCE_SECONDS):
        before = asyncio.all_tasks()
        writer.waits.add([entry(_A)], _NUMBERS)
        for _ in range(5):
            await asyncio.sleep(0)
        assert writer.counts == 1
        await writer.waits.close()
        assert not {task for task in asyncio.all_tasks() - before if not task.cancelling()}
        assert not writer.written


async def test_s15_a_defect_of_a_count_refuses_its_frames_alone() -> None:
    """Their streams hear of it; those of another campaign are recorded."""
    async with counted() as writer:
        defect = ZeroDivisionError()
        writer.answers = {1: [defect], 2: ["count of b"]}
        writer.may_count.set()
        bad, good = entry(_A), entry(_B)
        writer.waits.add([bad, good], _NUMBERS)
        await writer.ended()
        assert writer.failed == [(bad, defect)]
        assert writer.written == [([good], {_B: "count of b"})]
        assert writer.done == 2
