"""Measure the latency of acknowledgements at half of the highest rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.frames import RESULTS_A_FRAME
from benchmarks.load import LoadSpec, check_completed, load, start_campaigns
from benchmarks.processes import status_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database

STREAMS = 4
_WARM_UP_RESULTS = 20 * RESULTS_A_FRAME


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """The figures of one run.

    Attributes:
        latencies: of each frame, seconds.
        memory_mib: peak memory of the status service.
    """

    latencies: Sequence[float]
    memory_mib: float


async def measure(database: Database, *, rate: float, seconds: float) -> LatencyFigures:
    """Report ``rate`` results a second over four streams for ``seconds``.

    Each frame has a fixed due time, and its latency counts from then, so a slow
    service can't slow the load down.

    Raises:
        RuntimeError: the last result of a campaign did not complete it.
    """
    frames_a_second = rate / RESULTS_A_FRAME
    each = max(1, round(frames_a_second * seconds / STREAMS)) * RESULTS_A_FRAME
    campaigns = [f"paced-{number}" for number in range(STREAMS)]
    async with status_service(database, "paced") as status:
        await start_campaigns(status.address, ["warm-up"], _WARM_UP_RESULTS)
        async with load(LoadSpec(status.address, ["warm-up"], 1, _WARM_UP_RESULTS)) as reporting:
            await reporting.run()
        await start_campaigns(status.address, campaigns, each)
        spec = LoadSpec(status.address, campaigns, 1, each, frames_a_second)
        async with load(spec) as reporting:
            figures = await reporting.run()
        await check_completed(status.address, campaigns)
        return LatencyFigures(figures.latencies, status.peak_memory_mib())
