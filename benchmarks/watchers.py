"""Measure what many watchers of one busy campaign cost the status service."""

from __future__ import annotations

import asyncio
import statistics
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.load import LoadSpec, load, start_campaigns
from benchmarks.processes import status_service
from benchmarks.table import percentile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.databases import Database
    from benchmarks.processes import Service

#: Frames a second of the campaign, and results of each.
FRAMES_A_SECOND, RESULTS_A_FRAME = 200, 10


@dataclass(frozen=True, slots=True)
class WatcherFigures:
    """The figures of some runs, medians.

    Attributes:
        watchers: how many there are.
        cpu: processors that the service kept busy.
        snapshots: snapshots a second, of all watchers.
        delays: the 50th, the 99th and the 100th percentile of the seconds from the due time
            of each frame to its acknowledgement.
    """

    watchers: int
    cpu: float
    snapshots: float
    delays: Sequence[float]


async def measure(
    database: Database, *, watchers: Sequence[int], seconds: float, turns: int
) -> Sequence[WatcherFigures]:
    """Report to a campaign while so many watch it, each number for ``seconds``, by turns."""
    results = round(FRAMES_A_SECOND * seconds) * RESULTS_A_FRAME
    runs: dict[int, list[WatcherFigures]] = {number: [] for number in watchers}
    async with status_service(database, "watchers") as status:
        for turn in range(turns):
            for number in watchers if turn % 2 else reversed(watchers):
                name = f"watched-{number}-{turn}"
                # One more, so that it does not complete.
                await start_campaigns(status.address, [name], results + 1)
                runs[number].append(await _measure(status, name, number, results))
    return [
        WatcherFigures(
            number,
            statistics.median(run.cpu for run in of_number),
            statistics.median(run.snapshots for run in of_number),
            [
                statistics.median(each)
                for each in zip(*(run.delays for run in of_number), strict=True)
            ],
        )
        for number, of_number in runs.items()
    ]


async def _measure(status: Service, name: str, watchers: int, results: int) -> WatcherFigures:
    spec = LoadSpec(
        status.address,
        [name],
        1,
        results,
        FRAMES_A_SECOND,
        results_a_frame=RESULTS_A_FRAME,
    )
    async with _watching(status.address, name, watchers) as watching, load(spec) as reporting:
        await watching.snapshots()
        cpu = status.cpu_seconds()
        reported = await reporting.run()
        cpu = status.cpu_seconds() - cpu
        snapshots = await watching.snapshots()
    return WatcherFigures(
        watchers,
        cpu / reported.seconds,
        snapshots / reported.seconds,
        [percentile(reported.latencies, percent) for percent in (50, 99, 100)],
    )


class _Watching:
    """A process of watchers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """Return the next line that it prints."""
        line = await self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise RuntimeError("the process of watchers failed")
        return line.decode().strip()

    async def snapshots(self) -> int:
        """Return how many snapshots came since this was asked before."""
        if self._process.stdin is None:
            raise RuntimeError("a process of watchers without standard input")
        self._process.stdin.write(b"\n")
        return int(await self.line())


@asynccontextmanager
async def _watching(address: str, campaign_id: str, watchers: int) -> AsyncIterator[_Watching]:
    """Watch a campaign while the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.watch_process"),
        *(address, campaign_id, f"{watchers}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        watching = _Watching(process)
        await watching.line()
        yield watching
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
