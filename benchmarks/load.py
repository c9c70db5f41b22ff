"""Load on a status service, from a separate process."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.frames import RESULTS_A_FRAME
from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

#: The longest line of the load process, bytes: it has a latency for each frame.
_LONGEST_LINE = 2**24


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """The load to report.

    Attributes:
        address: HOST:PORT of the status service.
        campaigns: their ids; each gets a stream, or a caller.
        first: the first sequence.
        results: the number of results of each stream, or caller.
        frames_a_second: the frames due in a second, over all streams; 0: no limit.
        unary: report by BatchReportResults, one call after the other, instead of by
            streams.
        shared: all of ``campaigns`` are the same one: each stream reports the results
            behind those of the stream before it.
        results_a_frame: the results of each frame, or call.
    """

    address: str
    campaigns: Sequence[str]
    first: int
    results: int
    frames_a_second: float = 0.0
    unary: bool = False
    shared: bool = False
    results_a_frame: int = RESULTS_A_FRAME


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """The figures of one round.

    Attributes:
        seconds: from the first frame to the last acknowledgement.
        cpu_seconds: processor time of the load process.
        latencies: seconds from the due time of a frame to its acknowledgement; empty
            for a load without a limit.
    """

    seconds: float
    cpu_seconds: float
    latencies: list[float]


class Load:
    """A load process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ready(self) -> None:
        """Return when the frames are prepared and the connections are open."""
        await self._line()

    async def run(self) -> LoadFigures:
        """Send all frames and return when all are acknowledged."""
        if self._process.stdin is None:
            raise RuntimeError("a load process without standard input")
        self._process.stdin.write(b"\n")
        return LoadFigures(**json.loads(await self._line()))

    async def _line(self) -> str:
        line = await self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise RuntimeError("the load process failed")
        return line.decode()


@asynccontextmanager
async def load(spec: LoadSpec) -> AsyncIterator[Load]:
    """Start a load process; it is ready when the block begins."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load_process",
        json.dumps(asdict(spec)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        prepared = Load(process)
        await prepared.ready()
        yield prepared
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def start_campaigns(address: str, campaigns: Sequence[str], total: int) -> None:
    """Create and start campaigns of ``total`` messages each."""
    async with StatusClient(address) as client:
        for campaign_id in campaigns:
            await client.create_campaign(campaign_id=campaign_id)
            await client.start_campaign(campaign_id=campaign_id, total=total)


async def check_completed(address: str, campaigns: Sequence[str]) -> None:
    """Check that the load completed its campaigns.

    Raises:
        RuntimeError: one of the campaigns is not COMPLETED.
    """
    async with StatusClient(address) as client:
        for campaign_id in campaigns:
            campaign = await client.get_campaign(campaign_id=campaign_id)
            if campaign.state != status_pb2.Campaign.COMPLETED:
                raise RuntimeError(f"not completed: {campaign}")
