"""Measure the cost of a result in a campaign that already has many."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.load import LoadSpec, check_completed, load, start_campaigns
from benchmarks.processes import status_service

if TYPE_CHECKING:
    from benchmarks.databases import Database

_CAMPAIGN = "growing"
_ROUNDS = 4
_RESULTS_A_ROUND = 50_000


@dataclass(frozen=True, slots=True)
class GrowthFigures:
    """The figures of one run.

    Attributes:
        rate: results a second, the median of some rounds.
        completion: seconds from the last result, sent alone, to its acknowledgement;
            the service counts all results before it completes the campaign.
        memory_mib: peak memory of the status service.
    """

    rate: float
    completion: float
    memory_mib: float


async def measure(database: Database, *, rows: int) -> GrowthFigures:
    """Report results of a campaign that already has ``rows`` of them.

    One statement inserts those while no service runs.

    Raises:
        RuntimeError: the last result did not complete the campaign.
    """
    name = f"growth-{rows}"
    reported = _ROUNDS * _RESULTS_A_ROUND
    async with status_service(database, name) as status:
        await start_campaigns(status.address, [_CAMPAIGN], rows + reported + 1)
    await asyncio.to_thread(database.fill, name, rows)
    async with status_service(database, name) as status:
        rates = []
        for start in range(rows + 1, rows + reported, _RESULTS_A_ROUND):
            spec = LoadSpec(status.address, [_CAMPAIGN], start, _RESULTS_A_ROUND)
            async with load(spec) as reporting:
                rates.append(_RESULTS_A_ROUND / (await reporting.run()).seconds)
        last = LoadSpec(status.address, [_CAMPAIGN], rows + reported + 1, 1)
        async with load(last) as reporting:
            begin = time.perf_counter()
            await reporting.run()
            completion = time.perf_counter() - begin
        await check_completed(status.address, [_CAMPAIGN])
        return GrowthFigures(statistics.median(rates), completion, status.peak_memory_mib())
