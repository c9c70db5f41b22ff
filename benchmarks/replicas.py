"""Measure one campaign over two status services of one database beside a campaign for each."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.frames import RESULTS_A_FRAME
from benchmarks.load import LoadSpec, check_completed, load, start_campaigns
from benchmarks.processes import status_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.databases import Database

REPLICAS = 2


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """The medians of some runs by turns, results a second of both services together.

    Attributes:
        apart: each service gets another campaign.
        shared: both get one campaign.
    """

    apart: float
    shared: float


async def measure(database: Database, *, streams: int, results: int, turns: int) -> ReplicaFigures:
    """Report ``results`` results over ``streams`` streams to each service, in both ways by turns.

    Raises:
        RuntimeError: the last result of a campaign did not complete it.
    """
    rates: dict[bool, list[float]] = {False: [], True: []}
    async with AsyncExitStack() as stack:
        addresses = []
        for replica in range(REPLICAS):
            running = await stack.enter_async_context(
                status_service(database, f"replicas-{streams}", replica=replica)
            )
            addresses.append(running.address)
        for turn in range(turns):
            for shared in (turn % 2 == 0, turn % 2 == 1):
                rate = await _rate(
                    addresses, f"{turn}", streams=streams, results=results, shared=shared
                )
                rates[shared].append(rate)
    return ReplicaFigures(
        apart=statistics.median(rates[False]), shared=statistics.median(rates[True])
    )


async def _rate(
    addresses: Sequence[str], name: str, *, streams: int, results: int, shared: bool
) -> float:
    each = results // streams // RESULTS_A_FRAME * RESULTS_A_FRAME
    of_replica = each * streams
    if shared:
        campaigns = [f"shared-{name}"]
        await start_campaigns(addresses[0], campaigns, of_replica * len(addresses))
    else:
        campaigns = [f"apart-{name}-{number}" for number in range(len(addresses))]
        await start_campaigns(addresses[0], campaigns, of_replica)
    async with AsyncExitStack() as stack:
        loads = []
        for replica, address in enumerate(addresses):
            campaign = campaigns[0] if shared else campaigns[replica]
            first = 1 + (replica * of_replica if shared else 0)
            spec = LoadSpec(address, [campaign] * streams, first, each, shared=True)
            loads.append(await stack.enter_async_context(load(spec)))
        begin = time.perf_counter()
        await asyncio.gather(*(reporting.run() for reporting in loads))
        seconds = time.perf_counter() - begin
    await check_completed(addresses[0], campaigns)
    return of_replica * len(addresses) / seconds
