"""A campaign reported to a failing status service, and its expected results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc

from acceptance.forked import ForkedService
from closeout.aio import StatusClient
from closeout.errors import FailedPreconditionError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import FAILED, PATIENCE_SECONDS, SENT, UNKNOWN, results

#: How many new messages a frame has, and how many it repeats of the frame before.
_NEW, _AGAIN = 12, 4
_FRAMES = 5
TOTAL = _NEW * _FRAMES
#: A frame that repeats nothing, the one in the middle, and the one that completes the campaign.
FRESH, MIDDLE, LAST = 1, 2, _FRAMES - 1


@dataclass
class Reported:
    """A campaign, its frames, and the acknowledged ones."""

    campaign_id: str
    frames: list[list[pb.Result]]
    acknowledged: set[int] = field(default_factory=set)

    @classmethod
    def with_code(cls, campaign_id: str, code: str, frame: int) -> Reported:
        """Return a campaign with ``code`` in one frame."""
        campaign = cls.of(campaign_id, _FRAMES)
        campaign.frames[frame][-1].code = code
        return campaign

    @classmethod
    def of(cls, campaign_id: str, number_of_frames: int) -> Reported:
        """Return a campaign of ``number_of_frames`` frames.

        Each frame but one repeats the end of the frame before: it raises UNKNOWN results,
        and the other repeated results are duplicates.
        """
        frames = []
        for number in range(number_of_frames):
            first = number * _NEW + 1
            again = range(max(1, first - _AGAIN * (number != FRESH)), first)
            fresh = range(first, first + _NEW - _AGAIN)
            doubtful = range(first + _NEW - _AGAIN, first + _NEW)
            last = number == number_of_frames - 1
            frames.append(
                results(again, SENT)
                + results(again, FAILED)  # ranks below SENT: changes nothing
                + results(fresh, FAILED if number % 2 else SENT)
                + results(doubtful, SENT if last else UNKNOWN)
            )
        return cls(campaign_id, frames)

    @property
    def outcomes(self) -> dict[int, int]:
        """The results expected at the end: the best outcome of each message."""
        return self.outcomes_of(range(len(self.frames)))

    def outcomes_of(self, frames: Iterable[int]) -> dict[int, int]:
        """Return the best outcome of each message in these frames."""
        best: dict[int, int] = {}
        for frame in frames:
            for result in self.frames[frame]:
                best[result.sequence] = max(best.get(result.sequence, 0), result.outcome)
        return best

    async def start(self, client: StatusClient) -> None:
        """Register the campaign and seal its total."""
        await client.create_campaign(campaign_id=self.campaign_id)
        await client.start_campaign(campaign_id=self.campaign_id, total=_NEW * len(self.frames))

    async def report(self, address: str, *, in_flight: int = _FRAMES) -> str:
        """Send the unacknowledged frames on one stream; return how the stream ended.

        Checks S8. The frames up to the middle are sent alone, so that none of their
        transactions completes the campaign; at most ``in_flight`` other frames are unacknowledged.
        """
        waiting = [n for n in range(len(self.frames)) if n not in self.acknowledged]
        async with StatusClient(address) as client:
            call = client.report_results()
            sent = acked = 0
            try:
                for index in waiting:
                    sent += 1
                    await call.write(
                        pb.ReportResultsRequest(
                            frame=sent,
                            campaign_id=self.campaign_id,
                            results=self.frames[index],
                            reporter="tester",
                        )
                    )
                    alone = index in {0, FRESH, MIDDLE, waiting[-1]}
                    while acked < sent and (alone or sent - acked >= in_flight):
                        response = await call.read()
                        assert response is not grpc.aio.EOF, "ended early"
                        assert not response.rejections
                        assert acked <= response.acked_through <= sent, "S8"
                        acked = response.acked_through
                        self.acknowledged.update(waiting[:acked])
                await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    pass  # an early hang-up would hide a late failure
            except grpc.aio.AioRpcError as error:
                return str(error.code())
            except asyncio.InvalidStateError:  # a write after the end
                return str(await call.code())
            finally:
                call.cancel()
        return "acknowledged"

    async def report_all(self, service: ForkedService) -> list[str]:
        """Report until all is acknowledged, restart a dead service; return how streams ended."""
        ends = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.acknowledged) < len(self.frames):
                if not service.is_running:
                    await asyncio.to_thread(service.start)
                ends.append(await self.report(service.address))
        return ends


@asynccontextmanager
async def interfering(service: ForkedService, campaign_id: str) -> AsyncIterator[None]:
    """Pause, complete by hand and resume the campaign repeatedly while the block runs.

    These calls may fail: the service may be down, or the campaign not ready.
    """

    async def interfere() -> None:
        while True:
            async with StatusClient(service.address) as client:
                for call in (client.pause_campaign, client.mark_complete, client.resume_campaign):
                    with suppress(UnavailableError, FailedPreconditionError):
                        await call(campaign_id=campaign_id, reason="impatient")

    task = asyncio.create_task(interfere())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
