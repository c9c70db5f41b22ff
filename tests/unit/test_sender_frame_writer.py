"""What frames of one stream carry, how many are in flight, and when it is connected or silent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from closeout.status.v1 import status_pb2 as pb
from sender_service.domain import Problem, ProblemKind, State
from sender_service.reporting import frame_writer
from sender_service.reporting.frame_writer import FrameWriter
from sender_service.reporting.probe import Probe
from sender_service.reporting.relay_queue import RelayQueue
from sender_service.reporting.subscription import Event
from sender_service.store.outbox import ShardKey, ShardProgress

_PATIENCE_SECONDS = 20.0
_QUIET_SECONDS = 1_000.0
_SHARD = ShardKey(1, 1)


class Played:
    """A writer whose clock, store and stream the test plays."""

    def __init__(self) -> None:
        self.now = 100.0
        self.most_in_flight = 16
        self.problems: tuple[Problem, ...] | None = None
        self.at_work: list[Any] = []
        self.queue = RelayQueue(500)
        self.frames: asyncio.Queue[pb.ReportResultsRequest] = asyncio.Queue()
        played: Any = self
        self.writer = FrameWriter(
            played,
            self.queue,
            played,
            Probe(played, "default", hold_after_seconds=4 * _QUIET_SECONDS),
            instance="one",
            most_in_flight=lambda: self.most_in_flight,
        )

    async def read(self, _: Any) -> list[Any]:
        """Have pages without rows: what a frame carries is no matter here."""
        return []

    async def write(self, request: pb.ReportResultsRequest) -> None:
        """Take a frame as the stream does."""
        self.frames.put_nowait(request)

    def next_frame(self, _: float) -> None:
        """Have no problems to report alone."""

    next_time = next_frame

    def beside_request(self, _: Any) -> tuple[Problem, ...] | None:
        """Return the problems that go with the request of the campaign's state."""
        return self.problems

    def of(self, _: str) -> list[Any]:
        """Return the campaigns at work, of which one that is SENDING lets the writer probe."""
        return self.at_work

    async def frame(self) -> pb.ReportResultsRequest:
        """Wait for the next frame."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self.frames.get()

    async def written(self) -> int:
        """Wait for the next frame; return its number."""
        return (await self.frame()).frame

    def acknowledged(self, frame: int) -> None:
        """Take an acknowledgement as the reader of the stream does."""
        acknowledged = self.queue.acknowledge(frame, {})
        assert acknowledged.frames
        for campaign in acknowledged.answered:
            self.queue.apply(campaign, Event.ANSWERED)
        self.writer.progressed()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    """A writer of one campaign, by a clock that stands still."""
    played = Played()
    monkeypatch.setattr(frame_writer, "time", SimpleNamespace(monotonic=lambda: played.now))
    played.queue.add(1, "c1", [ShardProgress(_SHARD, 0, 0)])
    return played


async def test_only_frames_in_flight_make_a_stream_silent(played: Played) -> None:
    """However long there was nothing to report: the time counts from the frame after that."""
    call: Any = played
    writing = asyncio.create_task(played.writer.write(call))
    try:
        assert played.writer.silent_seconds == 0
        assert await played.written() == 1
        played.now += 5
        assert played.writer.silent_seconds == 5
        played.acknowledged(1)
        played.now += 1_000
        assert played.writer.silent_seconds == 0
        played.queue.journaled(_SHARD, 7)
        played.writer.wake()
        assert await played.written() == 2
        assert played.writer.silent_seconds == 0
        played.now += 3
        assert played.writer.silent_seconds == 3
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_an_acknowledgement_ends_the_silence_of_those_behind_it(played: Played) -> None:
    """A status service that answers slowly, but answers, is not given up."""
    call: Any = played
    writing = asyncio.create_task(played.writer.write(call))
    try:
        assert await played.written() == 1
        played.acknowledged(1)
        for frame, through in ((2, 500), (3, 1_000)):
            played.queue.journaled(_SHARD, through)
            played.writer.wake()
            assert await played.written() == frame
        played.now += 20
        assert played.writer.silent_seconds == 20
        played.acknowledged(2)
        played.now += 4
        assert played.writer.silent_seconds == 4
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_no_more_frames_are_in_flight_than_may_be(played: Played) -> None:
    """One leaves for each that is acknowledged; many may be written as soon as the limit allows."""
    call: Any = played
    writing = asyncio.create_task(played.writer.write(call))
    try:
        assert await played.written() == 1
        played.acknowledged(1)
        played.most_in_flight = 2
        played.queue.journaled(_SHARD, 2_500)
        played.writer.wake()
        assert [await played.written() for _ in range(2)] == [2, 3]
        await _settled()
        assert played.frames.empty()
        played.acknowledged(2)
        assert await played.written() == 4
        await _settled()
        assert played.frames.empty()
        played.most_in_flight = 16
        played.acknowledged(3)
        assert [await played.written() for _ in range(2)] == [5, 6]
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_s17_a_stream_is_connected_when_its_first_frame_has_left(played: Played) -> None:
    """Each one by itself: what was sent on the one before does not count."""
    call: Any = played
    assert played.writer.connected_seconds == 0
    for _ in range(2):
        writing = asyncio.create_task(played.writer.write(call))
        try:
            await asyncio.sleep(0)
            assert played.writer.connected_seconds == 0
            played.queue.journaled(_SHARD, 1)
            assert await played.written() == 1
            await _settled()
            assert played.writer.connected_seconds == 0
            played.now += 5
            assert played.writer.connected_seconds == 5
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        played.queue.begin_stream()


_REFUSED = Problem(ProblemKind.PROVIDER_REFUSES, "the login is refused", needs_attention=True)


@pytest.mark.parametrize(
    ("problems", "carried"),
    [((_REFUSED,), ["the login is refused"]), ((), []), (None, None)],
    ids=["one", "none", "it has ended"],
)
async def test_the_request_of_a_state_carries_the_problems_of_its_campaign(
    played: Played, problems: tuple[Problem, ...] | None, carried: list[str] | None
) -> None:
    """Also that there are none any more; a page and a probe leave them as they are."""
    call: Any = played
    played.problems = problems
    played.at_work = [SimpleNamespace(number=1, campaign_id="c1", state=State.SENDING)]
    writing = asyncio.create_task(played.writer.write(call))
    try:
        request = await played.frame()
        summaries = [problem.summary for problem in request.problems.problems]
        assert (summaries if request.HasField("problems") else None) == carried
        played.acknowledged(1)
        played.queue.journaled(_SHARD, 500)
        played.writer.wake()
        page = await played.frame()
        played.acknowledged(2)
        played.now += _QUIET_SECONDS
        played.writer.wake()
        probe = await played.frame()
        assert (page.frame, probe.frame) == (2, 3)
        assert not page.HasField("problems")
        assert not probe.HasField("problems")
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _settled() -> None:
    """Let all others run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)
