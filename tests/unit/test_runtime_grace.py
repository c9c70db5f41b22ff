"""L7: what a stop may take, and what it leaves to the end of the process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from providers.written_versions import THINGS, written
from service_runtime.database import Store
from service_runtime.grace import Grace
from status_service.domain import Outcome
from status_service.recording.notifier import Notifier
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, Frame
from status_service.recording.writer_pool import WriterPool

_PATIENCE_SECONDS = 30.0


def test_the_steps_of_a_stop_share_its_grace() -> None:
    """What one took is not left to the next, but for a moment; before the stop all is left."""
    now = 100.0
    grace = Grace(10, lambda: now)
    now = 105.0
    assert grace.left == 10
    grace.begin()
    now = 112.0
    assert grace.left == 3
    grace.begin()
    assert grace.left == 3
    now = 200.0
    assert grace.left == 0.25


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that is closed by the test."""
    made = tmp_path / "versions"
    made.mkdir()
    return Store(f"sqlite:///{tmp_path}/x.db", written(made, THINGS), holder="test")


async def test_l7_a_database_that_hangs_is_left_by_a_stop(store: Store) -> None:
    """The event loop goes on meanwhile, and what hangs may still end by itself."""
    go_on, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: Any) -> bool:
        loop.call_soon_threadsafe(begun.set)
        return go_on.wait(_PATIENCE_SECONDS)

    hanging = asyncio.create_task(store.write(hang))
    await begun.wait()
    with capture_logs() as lines:
        stopping = asyncio.create_task(store.stop(0.05))
        await asyncio.sleep(0)  # the loop is not what waits
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await stopping
    assert [line["event"] for line in lines] == ["database_not_closed"]
    go_on.set()
    assert await hanging
    for thread in threading.enumerate():
        if thread.name == "store-close":
            await asyncio.to_thread(thread.join, _PATIENCE_SECONDS)
            assert not thread.is_alive()


async def test_a_database_that_answers_is_closed_by_a_stop(store: Store) -> None:
    """Nothing is said of it."""
    with capture_logs() as lines:
        await store.stop(_PATIENCE_SECONDS)
    assert lines == []
    with pytest.raises(RuntimeError):
        await store.read(lambda _: None)


async def test_l7_a_writer_whose_database_hangs_is_left_by_a_stop() -> None:
    """What it has is not said to be stored, nor to be refused."""
    begun = asyncio.Event()

    async def write(_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    store: Any = SimpleNamespace(dialect="sqlite", writers=1, answering=True, write=write)
    pool = WriterPool(store, Notifier(), commit_results=1, queue_frames=1)
    running = asyncio.create_task(pool.run())
    rows = [(1, int(Outcome.SENT), 1, "", "", "", None)]
    receipt = await pool.submit(
        Frame(CampaignKey("default", "a"), "tester", ResultColumns.of(rows))
    )
    await begun.wait()
    with capture_logs() as lines:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await pool.flush(0.01)
    assert not receipt.done()
    assert [line["event"] for line in lines] == ["write_left_behind"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
