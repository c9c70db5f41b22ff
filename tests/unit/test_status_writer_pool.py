"""The writers take frames; what is not taken leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from status_service.domain import Outcome
from status_service.recording.batch import BatchRecorder
from status_service.recording.notifier import Notifier
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, Frame, FrameReceipt
from status_service.recording.writer_pool import WriterPool


def frame(campaign_id: str) -> Frame:
    """Return a frame with one result."""
    rows = [(1, int(Outcome.SENT), 1, "", "", "", None)]
    return Frame(CampaignKey("default", campaign_id), "tester", ResultColumns.of(rows))


async def test_b2_a_frame_that_is_given_up_before_it_is_queued_is_forgotten() -> None:
    """Its campaign does not count as one with frames that are not done, for ever."""
    store: Any = SimpleNamespace(dialect="sqlite", writers=1)
    pool = WriterPool(store, Notifier(), commit_results=1, queue_frames=1)
    await pool.submit(frame("a"))  # nobody writes it: the queue is full
    for name in ("a", "b"):
        waiting = asyncio.create_task(pool.submit(frame(name)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert {key.campaign_id: entry.frames for key, entry in pool._campaigns.items()} == {"a": 1}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_lines_to_be_copied_are_made_before_the_writer_has_its_turn(dialect: str) -> None:
    """Not where nothing is copied, nor for a campaign whose last frame brought nothing new."""
    store: Any = SimpleNamespace(dialect=dialect, writers=1)
    pool = WriterPool(store, Notifier(), commit_results=1, queue_frames=10)
    made: list[bool] = []

    async def submit(campaign_id: str = "a") -> asyncio.Future[FrameReceipt]:
        submitted = frame(campaign_id)
        receipt = await pool.submit(submitted)  # nobody writes it
        made.append(submitted.results.has_lines)
        return receipt

    first, second, third = [await submit() for _ in range(3)]
    first.set_result(FrameReceipt(duplicate=1))
    await asyncio.sleep(0)
    for campaign_id in "ab":
        await submit(campaign_id)
    second.set_result(FrameReceipt(new=1))
    await asyncio.sleep(0)
    await submit()
    third.cancel()
    await asyncio.sleep(0)
    await submit()
    copies = dialect == "postgresql"
    assert made == [new and copies for new in (True, True, True, False, True, True, True)]


async def test_a_campaign_goes_to_the_writer_that_has_the_fewest_frames() -> None:
    """It stays there as long as frames of it are not done, however many others come."""
    store: Any = SimpleNamespace(dialect="sqlite", writers=2)
    pool = WriterPool(store, Notifier(), commit_results=1, queue_frames=100)
    for name in "aaaabcbd":
        await pool.submit(frame(name))  # nobody writes it
    of = {key.campaign_id: entry.writer for key, entry in pool._campaigns.items()}
    assert of["a"] is not of["b"]
    assert of["b"] is of["c"] is of["d"]


async def test_a_frame_whose_caller_went_away_is_its_writer_s_until_it_is_done() -> None:
    """Its campaign goes to no second writer before that, and what it fails with is no noise."""
    written, begun = asyncio.Event(), asyncio.Event()
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

    async def write(_: Any) -> Any:
        begun.set()
        await written.wait()
        raise ZeroDivisionError

    store: Any = SimpleNamespace(
        dialect="sqlite", writers=2, has_free_writer=False, answering=True, write=write
    )
    pool = WriterPool(store, Notifier(), commit_results=1, queue_frames=1)
    running = asyncio.create_task(pool.run())
    recorder = BatchRecorder(store, pool, asyncio.Event())
    call = asyncio.create_task(recorder.record([frame("a")]))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    writer = pool._campaigns[frame("a").key].writer
    receipt = await pool.submit(frame("a"))
    assert {key.campaign_id: entry.frames for key, entry in pool._campaigns.items()} == {"a": 2}
    assert pool._campaigns[frame("a").key].writer is writer
    written.set()
    with pytest.raises(ZeroDivisionError):
        await receipt
    await asyncio.sleep(0)
    assert not pool._campaigns
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gc.collect()
    assert not noise
