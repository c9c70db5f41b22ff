"""Another campaign on a service: small frames and reads, each at its time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.load import start_campaigns
from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc

_Call: TypeAlias = (
    "grpc.aio.StreamStreamCall[status_pb2.ReportResultsRequest, status_pb2.ReportResultsResponse]"
)

#: Frames of one result that it gets in a second, and how often it is read.
FRAMES_A_SECOND, READS_A_SECOND = 200, 50
_ID = "beside"
#: It never ends.
_TOTAL = 10_000_000


@dataclass
class OtherCampaign:
    """Small frames and reads of a campaign, each at its time, whatever the service does."""

    client: StatusClient
    call: _Call
    acknowledgements: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    _frame: int = 0
    #: When frames and reads were due that are not answered.
    _due: deque[tuple[int, float]] = field(default_factory=deque)
    _reading: dict[asyncio.Task[None], float] = field(default_factory=dict)

    async def report(self) -> None:
        """Send frames for ever."""
        begin = time.perf_counter() - self._frame / FRAMES_A_SECOND
        while True:
            self._frame += 1
            due = begin + self._frame / FRAMES_A_SECOND
            await asyncio.sleep(due - time.perf_counter())
            self._due.append((self._frame, due))
            result = status_pb2.Result(sequence=self._frame, outcome=status_pb2.Result.SENT)
            await self.call.write(
                status_pb2.ReportResultsRequest(
                    frame=self._frame, campaign_id=_ID, results=[result]
                )
            )

    async def receive(self) -> None:
        """Note when frames are acknowledged, for ever."""
        while isinstance(response := await self.call.read(), status_pb2.ReportResultsResponse):
            if response.rejections:
                raise RuntimeError(f"a frame was rejected: {response}")
            now = time.perf_counter()
            while self._due and self._due[0][0] <= response.acked_through:
                self.acknowledgements.append(now - self._due.popleft()[1])

    async def read(self) -> None:
        """Read the campaign for ever, each time at its time, also while others wait."""
        due = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            while True:
                due += 1 / READS_A_SECOND
                await asyncio.sleep(due - time.perf_counter())
                task = tasks.create_task(self._read_once(due))
                self._reading[task] = due
                task.add_done_callback(self._reading.pop)

    async def _read_once(self, due: float) -> None:
        await self.client.get_campaign(campaign_id=_ID)
        self.reads.append(time.perf_counter() - due)

    def take(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return what was noted since the last time, with what still waits.

        Both are seconds from when each was due: to the acknowledgement of a frame, and to
        the answer of a read.
        """
        now = time.perf_counter()
        noted = self.acknowledgements + [now - due for _, due in self._due if due < now]
        reads = self.reads + [now - due for due in self._reading.values()]
        self.acknowledgements, self.reads = [], []
        return noted, reads


@asynccontextmanager
async def other_campaign(address: str) -> AsyncIterator[OtherCampaign]:
    """Report to another campaign of a service, and read it, while the block runs."""
    await start_campaigns(address, [_ID], _TOTAL)
    async with StatusClient(address) as client, asyncio.TaskGroup() as tasks:
        other = OtherCampaign(client, client.report_results())
        running = [tasks.create_task(act()) for act in (other.report, other.receive, other.read)]
        try:
            await asyncio.sleep(1.0)  # what is measured is not the first frame
            yield other
        finally:
            for task in running:
                task.cancel()
            other.call.cancel()
