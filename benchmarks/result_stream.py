"""Measure results a second into the status service, by streams and by unary calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.frames import RESULTS_A_FRAME
from benchmarks.load import LoadSpec, check_completed, load, start_campaigns
from benchmarks.processes import status_service

if TYPE_CHECKING:
    from benchmarks.databases import Database


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """The figures of one run.

    Attributes:
        first_rate: results a second, all of them new.
        again_rate: results a second, all of them known.
        service_cpu: processors that the status service kept busy.
        load_cpu: processors that the load kept busy.
        memory_mib: peak memory of the status service.
    """

    first_rate: float
    again_rate: float
    service_cpu: float
    load_cpu: float
    memory_mib: float


async def measure(
    database: Database, *, streams: int, results: int, unary: bool = False
) -> StreamFigures:
    """Report ``results`` results over ``streams`` streams, then all of them again.

    Each stream reports another campaign. With ``unary``, callers replace the streams,
    each with one call after the other.

    Raises:
        RuntimeError: the last result of a campaign did not complete it.
    """
    each = results // streams // RESULTS_A_FRAME * RESULTS_A_FRAME
    campaigns = [f"stream-{number}" for number in range(streams)]
    name = f"calls-{streams}" if unary else f"streams-{streams}"
    async with status_service(database, name) as status:
        await start_campaigns(status.address, campaigns, each)
        async with load(LoadSpec(status.address, campaigns, 1, each, unary=unary)) as reporting:
            cpu = status.cpu_seconds()
            first = await reporting.run()
            await check_completed(status.address, campaigns)
            again = await reporting.run()
            seconds = first.seconds + again.seconds
            return StreamFigures(
                first_rate=each * streams / first.seconds,
                again_rate=each * streams / again.seconds,
                service_cpu=(status.cpu_seconds() - cpu) / seconds,
                load_cpu=(first.cpu_seconds + again.cpu_seconds) / seconds,
                memory_mib=status.peak_memory_mib(),
            )
