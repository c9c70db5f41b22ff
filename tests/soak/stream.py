"""The client side of one ReportResults call that may break or fall silent at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2 as pb

#: Results that are sent together, as (sequence, outcome).
Frame = Sequence[tuple[int, int]]

_FRAMES_IN_FLIGHT = 8
#: After so long without an acknowledgement, a reporter changes the replica, seconds.
PATIENCE_SECONDS = 4.0


class ReportingStream:
    """Report frames of one campaign until all are acknowledged, or the stream breaks.

    Attributes:
        acked: the number of acknowledged frames.
        violations: answers that contradict a promise.
    """

    def __init__(self, client: StatusClient, campaign_id: str, frames: Sequence[Frame]) -> None:
        self.acked = 0
        self.violations: list[str] = []
        self._call = client.report_results()
        self._campaign_id = campaign_id
        self._frames = frames
        self._news = asyncio.Event()

    async def run(self) -> bool:
        """Report; return False if the stream broke before the end."""
        tasks = [asyncio.create_task(work) for work in (self._read(), self._write())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._call.cancel()
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            broken = (grpc.aio.AioRpcError, TimeoutError, asyncio.InvalidStateError)
            if end is not None and not isinstance(end, (asyncio.CancelledError, *broken)):
                raise end
        return self.acked == len(self._frames)

    async def _read(self) -> None:
        async for answer in self._call:
            if answer.acked_through < self.acked:
                self.violations.append(f"S8: {answer.acked_through} after {self.acked}")
            self.violations += [f"rejected: {rejection}" for rejection in answer.rejections]
            self.acked = answer.acked_through
            self._news.set()

    async def _write(self) -> None:
        for number, frame in enumerate(self._frames, 1):
            await self._until(number - _FRAMES_IN_FLIGHT)
            request = pb.ReportResultsRequest(frame=number, campaign_id=self._campaign_id)
            for sequence, outcome in frame:
                request.results.add(sequence=sequence, outcome=outcome)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._call.write(request)
        await self._until(len(self._frames))

    async def _until(self, frame: int) -> None:
        while self.acked < frame:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._news.wait()
            self._news.clear()
