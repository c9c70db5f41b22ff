"""A stream that is of no use ends, and what it has not confirmed is not sent any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sender_service.reporting import stream_watch
from sender_service.reporting.stream_watch import StreamBrokenError, StreamWatch

_PATIENCE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no look wait."""
    monkeypatch.setattr(stream_watch, "_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(stream_watch, "_CONFIRM_LOOK_SECONDS", 0.0)


class Watched:
    """A stream whose times the test sets, and whose states were forgotten."""

    def __init__(self) -> None:
        self.silent_seconds = self.connected_seconds = 0.0
        self.forgotten: list[str] = []
        writer: Any = self
        directory: Any = SimpleNamespace(forget_unconfirmed=self._forget)
        self.watch = StreamWatch(writer, directory, "ours")

    def _forget(self, organisation: str) -> list[str]:
        self.forgotten.append(organisation)
        return ["c1"]

    async def looked(self) -> None:
        """Let the watch look at the stream a few times."""
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def broken(watched: Watched) -> str:
    """Return why the watch ends the stream."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        with pytest.raises(StreamBrokenError) as caught:
            await watched.watch.run()
    return str(caught.value)


async def test_a_stream_that_was_given_up_ends_and_the_next_one_counts(watched: Watched) -> None:
    """It says why, and takes nothing more meanwhile."""
    watched.watch.give_up("a state is older")
    with pytest.raises(StreamBrokenError, match="a state is older"):
        watched.watch.check()
    assert await broken(watched) == "a state is older"
    watched.watch.begin_stream()
    watched.watch.check()


async def test_a_stream_without_acknowledgements_ends(watched: Watched) -> None:
    """Not while they may still come."""
    running = asyncio.create_task(watched.watch.run())
    watched.silent_seconds = 30.0
    await watched.looked()
    assert not running.done()
    running.cancel()
    watched.silent_seconds = 31.0
    assert await broken(watched) == "no acknowledgement for 31 s"


async def test_s17_what_a_new_stream_does_not_confirm_is_held(watched: Watched) -> None:
    """Once, when the connection has stood for long enough to bring the states."""
    running = asyncio.create_task(watched.watch.run())
    watched.connected_seconds = 0.7
    await watched.looked()
    assert not watched.forgotten
    watched.connected_seconds = 0.75
    await watched.looked()
    assert watched.forgotten == ["ours"]
    watched.connected_seconds = 2.0
    await watched.looked()
    assert watched.forgotten == ["ours"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("never", "confirmed"), [("_WATCH_SECONDS", False), ("_CONFIRM_LOOK_SECONDS", True)]
)
async def test_s17_a_new_stream_is_looked_at_more_often(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, never: str, *, confirmed: bool
) -> None:
    """Until its time to bring the states is over, and at the pace of any other from then on."""
    running = asyncio.create_task(watched.watch.run())
    if confirmed:
        watched.connected_seconds = 0.75
        await watched.looked()
        assert watched.forgotten == ["ours"]
    monkeypatch.setattr(stream_watch, never, 3_600.0)
    await watched.looked()
    watched.connected_seconds = 0.75
    watched.silent_seconds = 31.0 if confirmed else 0.0
    await watched.looked()
    assert watched.forgotten == ["ours"]
    assert running.done() is confirmed
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
