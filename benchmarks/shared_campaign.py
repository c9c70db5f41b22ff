"""Measure one campaign over several streams beside as many campaigns with a stream each."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.frames import RESULTS_A_FRAME
from benchmarks.load import LoadSpec, check_completed, load, start_campaigns
from benchmarks.processes import status_service

if TYPE_CHECKING:
    from benchmarks.databases import Database


@dataclass(frozen=True, slots=True)
class SharedFigures:
    """The medians of some runs by turns.

    Attributes:
        apart: results a second where each stream reports another campaign.
        shared: the same where all streams report one campaign.
        apart_cpu: processor time of the status service for each result, microseconds.
        shared_cpu: the same where all streams report one campaign.
    """

    apart: float
    shared: float
    apart_cpu: float
    shared_cpu: float


async def measure(database: Database, *, streams: int, results: int, turns: int) -> SharedFigures:
    """Report ``results`` results over ``streams`` streams, in both ways by turns.

    Raises:
        RuntimeError: the last result of a campaign did not complete it.
    """
    rates: dict[bool, list[float]] = {False: [], True: []}
    cpu: dict[bool, list[float]] = {False: [], True: []}
    async with status_service(database, f"shared-{streams}") as status:
        for turn in range(turns):
            for shared in (turn % 2 == 0, turn % 2 == 1):
                begin = status.cpu_seconds()
                rate = await _rate(
                    status.address, f"{turn}", streams=streams, results=results, shared=shared
                )
                rates[shared].append(rate)
                cpu[shared].append((status.cpu_seconds() - begin) * 1_000_000 / results)
    return SharedFigures(
        apart=statistics.median(rates[False]),
        shared=statistics.median(rates[True]),
        apart_cpu=statistics.median(cpu[False]),
        shared_cpu=statistics.median(cpu[True]),
    )


async def _rate(address: str, name: str, *, streams: int, results: int, shared: bool) -> float:
    each = results // streams // RESULTS_A_FRAME * RESULTS_A_FRAME
    if shared:
        campaigns = [f"shared-{name}"]
        await start_campaigns(address, campaigns, each * streams)
    else:
        campaigns = [f"apart-{name}-{number}" for number in range(streams)]
        await start_campaigns(address, campaigns, each)
    ids = campaigns * (streams if shared else 1)
    async with load(LoadSpec(address, ids, 1, each, shared=shared)) as reporting:
        figures = await reporting.run()
    await check_completed(address, campaigns)
    return each * streams / figures.seconds
