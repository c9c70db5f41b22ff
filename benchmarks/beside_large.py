"""Measure how long others wait while calls about a large campaign run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.load import start_campaigns
from benchmarks.processes import status_service
from closeout.aio import StatusClient
from closeout.errors import FailedPreconditionError
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import grpc

    from benchmarks.databases import Database
    from benchmarks.processes import Service

_Call: TypeAlias = (
    "grpc.aio.StreamStreamCall[status_pb2.ReportResultsRequest, status_pb2.ReportResultsResponse]"
)

#: Frames of one result that the campaign beside gets in a second.
_FRAMES_A_SECOND = 200
_READS_A_SECOND = 50
_REST_SECONDS = 3.0
#: How long a call may take, seconds.
_PATIENCE = 3_600.0
#: The campaign beside never ends.
_TOTAL = 10_000_000
#: Messages of the halved campaign come in runs of so many with a result, and without.
_RUN = 1_000


@dataclass(frozen=True, slots=True)
class BesideFigures:
    """What others noticed of a call.

    Attributes:
        call: the call.
        seconds: how long it took.
        acknowledgements: of frames of another campaign, seconds from when each was due.
        reads: of GetCampaign of another campaign, seconds from when each was due.
        memory_mib: what the peak memory of the service grew by.
    """

    call: str
    seconds: float
    acknowledgements: Sequence[float]
    reads: Sequence[float]
    memory_mib: float


@dataclass
class _Beside:
    """Another campaign: small frames and reads, each at its time, whatever the service does."""

    client: StatusClient
    call: _Call
    acknowledgements: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    _frame: int = 0
    _due: deque[tuple[int, float]] = field(default_factory=deque)

    async def report(self) -> None:
        """Send frames for ever."""
        begin = time.perf_counter() - self._frame / _FRAMES_A_SECOND
        while True:
            self._frame += 1
            due = begin + self._frame / _FRAMES_A_SECOND
            await asyncio.sleep(due - time.perf_counter())
            self._due.append((self._frame, due))
            result = status_pb2.Result(sequence=self._frame, outcome=status_pb2.Result.SENT)
            await self.call.write(
                status_pb2.ReportResultsRequest(
                    frame=self._frame, campaign_id="beside", results=[result]
                )
            )

    async def receive(self) -> None:
        """Note when frames are acknowledged, for ever."""
        while isinstance(response := await self.call.read(), status_pb2.ReportResultsResponse):
            now = time.perf_counter()
            while self._due and self._due[0][0] <= response.acked_through:
                self.acknowledgements.append(now - self._due.popleft()[1])

    async def read(self) -> None:
        """Read the campaign for ever."""
        due = time.perf_counter()
        while True:
            due += 1 / _READS_A_SECOND
            await asyncio.sleep(due - time.perf_counter())
            await self.client.get_campaign(campaign_id="beside")
            self.reads.append(time.perf_counter() - due)

    def take(self) -> tuple[list[float], list[float]]:
        """Return what was noted since the last time, with what still waits."""
        now = time.perf_counter()
        noted = self.acknowledgements + [now - due for _, due in self._due if due < now]
        reads = self.reads
        self.acknowledgements, self.reads = [], []
        return noted, reads


async def measure(database: Database, *, rows: int) -> AsyncIterator[BesideFigures]:
    """Yield what others notice of each call about campaigns of ``rows`` messages.

    One lacks a result in its middle; the other lacks half of them, in runs of 1,000. One
    statement inserts what they have while no service runs.
    """
    name = f"beside-{rows}"
    async with status_service(database, name) as status:
        await start_campaigns(status.address, ["gap", "halved"], rows)
        await start_campaigns(status.address, ["beside"], _TOTAL)
    await asyncio.to_thread(database.fill, name, rows, "gap", f"number <> {rows // 2}")
    await asyncio.to_thread(database.fill, name, rows, "halved", f"number % {2 * _RUN} < {_RUN}")
    async with (
        status_service(database, name) as status,
        StatusClient(status.address, timeout_seconds=_PATIENCE) as client,
        _beside(status) as beside,
    ):
        for call, act in _calls(client, rows):
            beside.take()
            peak = status.peak_memory_mib()
            begin = time.perf_counter()
            await act()
            seconds = time.perf_counter() - begin
            acknowledgements, reads = beside.take()
            grown = status.peak_memory_mib() - peak
            yield BesideFigures(call, seconds, acknowledgements, reads, grown)
            await asyncio.sleep(1.0)


@asynccontextmanager
async def _beside(status: Service) -> AsyncIterator[_Beside]:
    async with StatusClient(status.address) as client, asyncio.TaskGroup() as tasks:
        beside = _Beside(client, client.report_results())
        running = [tasks.create_task(act()) for act in (beside.report, beside.receive, beside.read)]
        try:
            await asyncio.sleep(1.0)  # what is measured is not the first frame
            yield beside
        finally:
            for task in running:
                task.cancel()
            beside.call.cancel()


def _calls(
    client: StatusClient, rows: int
) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
    async def refused() -> None:
        try:
            await client.mark_complete(campaign_id="gap")
        except FailedPreconditionError:
            return
        raise RuntimeError("MarkComplete was not refused")

    async def first_page() -> None:
        async for _ in client.list_missing_ranges(campaign_id="halved", page_size=1_000):
            return

    async def last_result() -> None:
        last = status_pb2.Result(sequence=rows // 2, outcome=status_pb2.Result.SENT)
        await client.batch_report_results(
            campaigns=[status_pb2.CampaignResults(campaign_id="gap", results=[last])]
        )
        found = await client.get_campaign(campaign_id="gap")
        if found.state != status_pb2.Campaign.COMPLETED:
            raise RuntimeError(f"not completed: {found}")

    return [
        ("nothing", lambda: asyncio.sleep(_REST_SECONDS)),
        ("ExplainCampaign", lambda: client.explain_campaign(campaign_id="gap")),
        (
            "two ExplainCampaign",
            lambda: asyncio.gather(
                client.explain_campaign(campaign_id="gap"),
                client.explain_campaign(campaign_id="halved"),
            ),
        ),
        ("ListMissingRanges", first_page),
        ("MarkComplete, refused", refused),
        ("RepairCampaigns, dry run", lambda: client.repair_campaigns(dry_run=True)),
        ("the last result", last_result),
        (
            "MarkComplete, force",
            lambda: client.mark_complete(campaign_id="halved", force=True, reason="measured"),
        ),
    ]
