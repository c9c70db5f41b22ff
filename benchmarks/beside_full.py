"""Measure how long a stream of small frames waits beside one that reports all it can."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.load import LoadSpec, load, start_campaigns
from benchmarks.processes import status_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database

#: Frames a second of the small stream, and results of each.
FRAMES_A_SECOND, RESULTS_A_FRAME = 200, 10


@dataclass(frozen=True, slots=True)
class BesideFigures:
    """The figures of one run.

    Attributes:
        alone: seconds from the due time of each small frame to its acknowledgement, while
            nobody else reports.
        beside: the same while the other stream reports.
        full_rate: results a second of that stream meanwhile.
    """

    alone: Sequence[float]
    beside: Sequence[float]
    full_rate: float


async def measure(database: Database, *, results: int, seconds: float) -> BesideFigures:
    """Report small frames for ``seconds`` alone, then beside ``results`` of a full stream."""
    frames = round(FRAMES_A_SECOND * seconds)
    small = frames * RESULTS_A_FRAME
    async with status_service(database, "beside") as status:
        await start_campaigns(status.address, ["alone", "small"], small)
        await start_campaigns(status.address, ["full"], results)

        def spec(campaign_id: str) -> LoadSpec:
            return LoadSpec(
                status.address,
                [campaign_id],
                1,
                small,
                FRAMES_A_SECOND,
                results_a_frame=RESULTS_A_FRAME,
            )

        async with load(spec("alone")) as reporting:
            alone = await reporting.run()
        async with (
            load(LoadSpec(status.address, ["full"], 1, results)) as filling,
            load(spec("small")) as reporting,
        ):
            full, beside = await asyncio.gather(filling.run(), reporting.run())
    # Frames that were due after the full stream had ended say nothing.
    during = min(frames, int(full.seconds * FRAMES_A_SECOND))
    return BesideFigures(alone.latencies, beside.latencies[:during], results / full.seconds)
