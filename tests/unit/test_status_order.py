"""S16: whoever listens to a campaign never goes back to an older state of it.

The streams here have writers and a client that the test plays itself, so that what
arrives when is not left to chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from closeout.status.v1 import status_pb2 as pb
from service_runtime.caller import Caller
from service_runtime.sampled_log import SampledLog
from status_service.domain import Counters, State
from status_service.errors import CampaignNotFoundError, StoreWentBackError
from status_service.grpc_api.result_stream import ResultStream
from status_service.recording.notifier import Notifier
from status_service.recording.types import (
    CampaignKey,
    Change,
    Frame,
    FrameReceipt,
    vanished_campaign,
)

_KEY = CampaignKey("default", "a")
_PATIENCE_SECONDS = 20.0


def change(revision: int, state: State, *, went_back: bool = False) -> Change:
    """Return the campaign at a revision; as many messages have a result."""
    found = revision if went_back else None
    return Change(_KEY, state, 100, Counters(sent=revision), revision, found)


def receipt(revision: int, state: State) -> FrameReceipt:
    """Return the receipt of a frame that was stored at a revision."""
    return FrameReceipt(state=state, revision=revision, processed=revision)


class PlayedStream:
    """A stream whose writer and client are the test."""

    def __init__(self) -> None:
        self.notifier = Notifier()
        self.receipts: list[asyncio.Future[FrameReceipt]] = []
        self.announced: list[tuple[str, int]] = []
        self.acked_through = 0
        self.rejections: list[pb.ReportResultsResponse.FrameRejection] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._requests: asyncio.Queue[pb.ReportResultsRequest] = asyncio.Queue(100)
        pool: Any = self
        context: Any = self
        self._stream = ResultStream(
            Caller("default", "tester"),
            context,
            writer_pool=pool,
            notifier=self.notifier,
            rejection_log=SampledLog("results_rejected"),
            generation="g",
            stopping=asyncio.Event(),
        )
        self.task = asyncio.create_task(self._stream.run(self._read()))

    async def _read(self) -> AsyncIterator[pb.ReportResultsRequest]:
        while True:
            yield await self._requests.get()

    async def submit(self, _: Frame) -> asyncio.Future[FrameReceipt]:
        """Take a frame as the writers do."""
        self.receipts.append(asyncio.get_running_loop().create_future())
        return self.receipts[-1]

    async def write(self, response: pb.ReportResultsResponse) -> None:
        """Take an answer as the client does."""
        await self.reads.wait()
        self.rejections += response.rejections
        self.acked_through = response.acked_through
        self.announced += [
            (pb.Campaign.State.Name(state.state), state.revision)
            for state in response.campaign_states
        ]

    async def send_wrong(self, frames: int) -> None:
        """Send frames that name no campaign, which are refused without a writer."""
        for number in range(1, frames + 1):
            await self._requests.put(
                pb.ReportResultsRequest(frame=number, campaign_id="-" * 10_000)
            )

    async def send(self, frames: int, campaign_id: str = "a") -> None:
        """Send frames of the campaign, and wait until the writers have them."""
        for _ in range(frames):
            number = len(self.receipts) + 1
            await self._requests.put(pb.ReportResultsRequest(frame=number, campaign_id=campaign_id))
            await until(lambda: len(self.receipts) == number)  # noqa: B023

    async def stored(self, frame: int, result: FrameReceipt) -> None:
        """Finish a frame, and wait for its acknowledgement."""
        self.receipts[frame - 1].set_result(result)
        await until(lambda: self.acked_through >= frame)


async def until(true: Any) -> None:
    """Let others run until ``true()``."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)


@asynccontextmanager
async def played() -> AsyncIterator[PlayedStream]:
    """Open a stream."""
    stream = PlayedStream()
    try:
        yield stream
    finally:
        stream.task.cancel()
        await asyncio.gather(stream.task, return_exceptions=True)
    assert not stream.notifier.keys(), "a stream that ended listens to nothing"


async def test_s16_a_late_receipt_does_not_bring_an_older_state_back() -> None:
    """A frame stored while PAUSED, acknowledged after the resume was announced: SENDING stays."""
    async with played() as stream:
        await stream.send(2)
        await stream.stored(1, receipt(5, State.PAUSED))
        stream.notifier.publish([change(8, State.SENDING)])
        await until(lambda: len(stream.announced) == 2)
        await stream.stored(2, receipt(7, State.PAUSED))
        stream.notifier.publish([change(9, State.CANCELLED)])
        await until(lambda: len(stream.announced) == 3)
    assert stream.announced == [("PAUSED", 5), ("SENDING", 8), ("CANCELLED", 9)]


async def test_s16_a_late_notification_does_not_bring_an_older_state_back() -> None:
    """Changes may come late, twice and out of order: each state is announced once, in order."""
    async with played() as stream:
        await stream.send(3)
        await stream.stored(1, receipt(5, State.SENDING))
        for revision, state in ((7, State.SENDING), (6, State.PAUSED), (7, State.SENDING)):
            stream.notifier.publish([change(revision, state)])
        await stream.stored(2, receipt(7, State.SENDING))
        stream.notifier.publish([change(8, State.PAUSED), change(7, State.SENDING)])
        await stream.stored(3, receipt(7, State.SENDING))
    assert stream.announced == [("SENDING", 5), ("PAUSED", 8)]


async def test_s8_a_frame_that_is_stored_first_is_acknowledged_in_its_turn() -> None:
    """Writers may finish frames in any order: nothing is acknowledged before all before it."""
    async with played() as stream:
        await stream.send(3)
        for frame in (3, 2):
            stream.receipts[frame - 1].set_result(receipt(4 + frame, State.SENDING))
            for _ in range(10):
                await asyncio.sleep(0)
            assert stream.acked_through == 0
        await stream.stored(1, receipt(5, State.SENDING))
        await until(lambda: stream.acked_through == 3)


async def test_s8_a_frame_that_fails_acknowledges_none_behind_it() -> None:
    """The stream ends with it; its sender reports from there on again."""
    async with played() as stream:
        await stream.send(3)
        stream.receipts[2].set_result(receipt(7, State.SENDING))
        await stream.stored(1, receipt(5, State.SENDING))
        stream.receipts[1].set_exception(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(stream.task, _PATIENCE_SECONDS)
        assert stream.acked_through == 1


async def test_b2_a_stream_that_is_cancelled_twice_listens_to_nothing() -> None:
    """Its client hangs up while its place is taken away, or while the service stops."""
    async with played() as stream:
        await stream.send(1)
        for _ in range(2):
            stream.task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([stream.task], timeout=_PATIENCE_SECONDS)
        assert stream.task.cancelled()
        assert not stream.notifier.keys()


async def test_s16_a_new_stream_takes_what_the_database_has() -> None:
    """Revisions begin again with each stream, as after a restore; older listeners don't matter."""
    async with played() as old, played() as new:
        new.notifier.publish([change(50, State.COMPLETED)])
        await old.send(1)
        await old.stored(1, receipt(50, State.COMPLETED))
        await new.send(1)
        await new.stored(1, receipt(20, State.SENDING))
        new.notifier.publish([change(21, State.PAUSED)])
        await until(lambda: len(new.announced) == 2)
    assert old.announced == [("COMPLETED", 50)]
    assert new.announced == [("SENDING", 20), ("PAUSED", 21)]


async def test_s16_a_store_that_went_back_ends_the_stream() -> None:
    """Once a read finds an older revision than was announced, the caller has to begin again."""
    async with played() as stream:
        await stream.send(1)
        await stream.stored(1, receipt(50, State.COMPLETED))
        stream.notifier.publish([change(50, State.COMPLETED, went_back=True)])
        stream.notifier.publish([change(20, State.SENDING)])  # late, or restored: not known
        stream.notifier.publish([change(20, State.SENDING, went_back=True)])
        with pytest.raises(StoreWentBackError) as caught:
            await asyncio.wait_for(stream.task, _PATIENCE_SECONDS)
    assert caught.value.metadata == {"campaign_id": "a", "revision": "20", "announced": "50"}
    assert stream.announced == [("COMPLETED", 50)]


async def test_s16_a_campaign_that_vanished_ends_the_stream_of_who_knew_it() -> None:
    """Who knew nothing of it hears nothing of it."""
    async with played() as knows, played() as waits:
        await knows.send(1)
        await knows.stored(1, receipt(50, State.SENDING))
        await waits.send(1)
        for stream in (knows, waits):
            stream.notifier.publish([vanished_campaign(_KEY).based_on(0, known=50)])
        with pytest.raises(StoreWentBackError, match="revision 0"):
            await asyncio.wait_for(knows.task, _PATIENCE_SECONDS)
        await waits.stored(1, receipt(1, State.SENDING))
    assert waits.announced == [("SENDING", 1)]


async def test_s16_a_campaign_registered_again_begins_with_its_first_revision() -> None:
    """After CAMPAIGN_NOT_FOUND nothing of the campaign there was before is remembered."""
    async with played() as stream:
        await stream.send(3)
        await stream.stored(1, receipt(50, State.SENDING))
        await stream.stored(2, FrameReceipt(error=CampaignNotFoundError("a")))
        await stream.stored(3, receipt(2, State.SENDING))
    assert stream.announced == [("SENDING", 50), ("SENDING", 2)]


async def test_a_campaign_that_is_not_found_is_still_listened_to_for_frames_that_follow() -> None:
    """The subscription of a frame that is not answered yet misses no change meanwhile."""
    async with played() as stream:
        await stream.send(2)
        await stream.stored(1, FrameReceipt(error=CampaignNotFoundError("a")))
        stream.notifier.publish([change(3, State.PAUSED)])
        await until(lambda: stream.announced)
        await stream.stored(2, receipt(2, State.SENDING))
    assert stream.announced == [("PAUSED", 3)]


async def test_b3_a_stream_lets_go_of_campaigns_that_have_ended() -> None:
    """It listens to the last one of a hundred, which shows that the store went back."""
    names = [f"c{number}" for number in range(100)]
    async with played() as stream:
        for frame, name in enumerate(names, start=1):
            await stream.send(1, name)
            await stream.stored(frame, receipt(50, State.COMPLETED))
        assert stream.notifier.keys() == [CampaignKey("default", names[-1])]
        for kept in (stream._stream._known, stream._stream._announced, stream._stream._ended):
            assert len(kept) == 1
    assert stream.announced == [("COMPLETED", 50)] * len(names)


async def test_s16_an_ended_campaign_is_held_while_an_older_receipt_may_come() -> None:
    """A frame that waits behind the end of its campaign brings no older state back."""
    async with played() as stream:
        for name in ("a", "b", "c", "a"):
            await stream.send(1, name)
        stream.notifier.publish([change(50, State.COMPLETED)])
        await until(lambda: stream.announced)
        for frame in (1, 2, 3):
            await stream.stored(frame, receipt(20 if frame == 1 else 7, State.COMPLETED))
        await stream.stored(4, receipt(30, State.SENDING))
        assert stream.announced == [("COMPLETED", revision) for revision in (50, 7, 7)]
        assert len(stream.notifier.keys()) <= 2


async def test_b2_refused_frames_of_a_client_that_does_not_read_fill_no_memory() -> None:
    """So many wait for it, and further ones are left unread; what it named is kept in part."""
    frames = 5_000
    async with played() as stream:
        stream.reads.clear()
        sending = asyncio.create_task(stream.send_wrong(frames))
        for _ in range(frames):
            await asyncio.sleep(0)
        waiting = stream._stream._next.rejections
        assert 0 < len(waiting) <= 1_000
        assert not sending.done()
        assert max(rejection.ByteSize() for rejection in waiting) < 1_000
        stream.reads.set()
        await sending
        await until(lambda: stream.acked_through == frames)
    assert [rejection.frame for rejection in stream.rejections] == list(range(1, frames + 1))
    assert {rejection.rejection.reason for rejection in stream.rejections} == {"INVALID_REQUEST"}


def test_s16_each_listener_compares_for_itself() -> None:
    """The notifier passes on lower revisions too: for a listener they may be the first."""
    notifier = Notifier()
    heard: list[int] = []
    with notifier.listening(_KEY, lambda change: heard.append(change.revision)):
        notifier.publish([change(7, State.SENDING), change(3, State.SENDING)])
        assert notifier.revision(_KEY) == 7
    assert heard == [7, 3]


async def test_s16_what_a_stream_learned_by_a_receipt_counts_as_committed() -> None:
    """So the first read behind it finds out that the store went back, published or not."""
    async with played() as stream:
        await stream.send(2)
        await stream.stored(1, receipt(50, State.SENDING))
        assert stream.notifier.revision(_KEY) == 50
        await stream.stored(2, receipt(49, State.SENDING))
        assert stream.notifier.revision(_KEY) == 50
    assert stream.notifier.revision(_KEY) == 0


def test_b3_nothing_is_remembered_of_campaigns_that_nobody_listens_to() -> None:
    """Neither a listener nor a revision: memory does not grow with ended campaigns."""
    notifier = Notifier()
    with notifier.listening(_KEY, lambda _: None):
        notifier.publish([change(7, State.SENDING)])
    notifier.publish([change(8, State.SENDING)])
    notifier.note(_KEY, 9)
    assert (notifier.keys(), notifier.revision(_KEY)) == ([], 0)
    assert not notifier._revisions
