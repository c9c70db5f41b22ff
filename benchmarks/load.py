"""Load on a status service, from a process that does nothing else."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

#: One answer of the load process: a latency for each frame, in one line.
_LONGEST_LINE = 2**24


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What is to be reported.

    Attributes:
        address: HOST:PORT of the status service.
        campaigns: one stream, or one caller, for each.
        first: the first sequence.
        results: how many of each campaign.
        frames_a_second: how many are due in a second, of all streams; 0: as fast as
            they go.
        unary: report by BatchReportResults, each call after the one before, instead of
            by streams.
    """

    address: str
    campaigns: Sequence[str]
    first: int
    results: int
    frames_a_second: float = 0.0
    unary: bool = False


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What one round of it took.

    Attributes:
        seconds: from the first frame to the last acknowledgement.
        cpu_seconds: what the load process itself needed.
        latencies: seconds from when a frame was due to its acknowledgement; empty
            where frames go as fast as they go.
    """

    seconds: float
    cpu_seconds: float
    latencies: list[float]


class Load:
    """A load process that has its frames ready."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ready(self) -> None:
        """Return when the frames are made and the connections are open."""
        await self._line()

    async def run(self) -> LoadFigures:
        """Send all frames, and return when all are acknowledged."""
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
    """Check that what was measured is what was meant.

    Raises:
        RuntimeError: one of the campaigns is not COMPLETED.
    """
    async with StatusClient(address) as client:
        for campaign_id in campaigns:
            campaign = await client.get_campaign(campaign_id=campaign_id)
            if campaign.state != status_pb2.Campaign.COMPLETED:
                raise RuntimeError(f"not completed: {campaign}")
