"""Measure the status service on one database, and format the figures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks import (
    beside_full,
    completion,
    growth,
    latency,
    replicas,
    result_stream,
    shared_campaign,
    watchers,
)
from benchmarks.frames import RESULTS_A_FRAME
from benchmarks.table import aligned, milliseconds, percentile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.databases import Database

_STREAMS = (1, 4, 16)
#: Callers of BatchReportResults, each with one call after the other.
_CALLERS = (4, 16)
_FLOOR_ROWS = 200_000
#: Streams to each of two services.
_REPLICA_STREAMS = (2, 8)
#: Results of each run, and runs of each kind.
_SHARED_RESULTS, _SHARED_TURNS = 200_000, 7
#: Results of one measurement of streams, so that it takes seconds.
_RESULTS = 500_000
_LATENCY_SECONDS = 5.0
#: Results of the full stream, and seconds of the small one.
_FULL_RESULTS, _BESIDE_SECONDS = 1_000_000, 4.0
_CAMPAIGNS = 200
#: Watchers of one campaign, for how long, seconds, and how often.
_WATCHERS, _WATCH_SECONDS, _WATCH_TURNS = (0, 500), 5.0, 5


async def measured(database: Database, sizes: Sequence[int]) -> AsyncIterator[str]:
    """Yield the tables, as soon as each is measured.

    Args:
        database: creates the databases.
        sizes: the stored results with which growth is measured.
    """
    peak = 0.0
    rows = []
    floors = [await _floor(database)]
    reporters = [*((count, False) for count in _STREAMS), *((count, True) for count in _CALLERS)]
    for count, unary in reporters:
        stream = await result_stream.measure(database, streams=count, results=_RESULTS, unary=unary)
        floors.append(await _floor(database))
        floor = (floors[-2] + floors[-1]) / 2
        rows.append(
            (
                f"{count} {'callers' if unary else 'streams'}",
                f"{stream.first_rate:,.0f}",
                f"{stream.first_rate / floor:.2f}",
                f"{stream.again_rate:,.0f}",
                f"{stream.again_rate / floor:.2f}",
                f"{floors[-2]:,.0f}",
                f"{floors[-1]:,.0f}",
                f"{stream.service_cpu:.2f}",
                f"{stream.load_cpu:.2f}",
                f"{stream.memory_mib:.0f}",
            )
        )
        if count == latency.STREAMS and not unary:
            peak = stream.first_rate
    yield (
        f"\n{database.title}: {_RESULTS:,} results, {RESULTS_A_FRAME} a frame or call, first"
        " and again;\nthe floor is what the bare driver inserts just before and just after"
    )
    yield aligned(
        (
            "reporters",
            "first/s",
            "/floor",
            "again/s",
            "/floor",
            "floor before/s",
            "after/s",
            "service CPUs",
            "load CPUs",
            "service MiB",
        ),
        rows,
    )
    yield (
        f"\n{database.title}: one campaign over several streams beside as many campaigns,"
        f" {_SHARED_RESULTS:,} results;\nmedians of {_SHARED_TURNS} runs by turns, and what"
        " a result costs the service"
    )
    yield await _shared(database)
    if database.takes_replicas:
        yield (
            f"\n{database.title}: one campaign over {replicas.REPLICAS} services beside a campaign"
            f" for each, {_SHARED_RESULTS:,} results to each;\nmedians of {_SHARED_TURNS} runs"
            " by turns"
        )
        yield await _replicas(database)
    paced = await latency.measure(database, rate=peak / 2, seconds=_LATENCY_SECONDS)
    yield (
        f"\n{database.title}: acknowledgement of a frame, {latency.STREAMS} streams,"
        f" {peak / 2:,.0f} results/s, half of the rate above"
    )
    yield _delays("frames", paced.latencies, paced.memory_mib)
    fast = await beside_full.measure(database, results=_FULL_RESULTS, seconds=_BESIDE_SECONDS)
    yield (
        f"\n{database.title}: {beside_full.FRAMES_A_SECOND} frames of"
        f" {beside_full.RESULTS_A_FRAME} results a second, alone and beside a stream that"
        f" stores {fast.full_rate:,.0f} results/s"
    )
    yield aligned(
        ("frames", "p50 ms", "p99 ms", "most ms"),
        [
            (name, *(milliseconds(percentile(delays, percent)) for percent in (50, 99, 100)))
            for name, delays in (("alone", fast.alone), ("beside", fast.beside))
        ],
    )
    watched = await watchers.measure(
        database, watchers=_WATCHERS, seconds=_WATCH_SECONDS, turns=_WATCH_TURNS
    )
    yield (
        f"\n{database.title}: watchers of one campaign that gets"
        f" {watchers.FRAMES_A_SECOND} frames a second, and how long these wait;"
        f"\nmedians of {_WATCH_TURNS} runs by turns"
    )
    yield aligned(
        ("watchers", "service CPUs", "snapshots/s", "p50 ms", "p99 ms", "most ms"),
        [
            (
                f"{found.watchers}",
                f"{found.cpu:.2f}",
                f"{found.snapshots:,.0f}",
                *map(milliseconds, found.delays),
            )
            for found in watched
        ],
    )
    ends = await completion.measure(database, campaigns=_CAMPAIGNS)
    yield f"\n{database.title}: from the last result sent to COMPLETED at a watcher"
    yield _delays("campaigns", ends.delays, ends.memory_mib)
    yield (
        f"\n{database.title}: one stream into a campaign that has many results;"
        " and the last one, with the count"
    )
    yield await _growth(database, sizes)


async def _shared(database: Database) -> str:
    figures = [
        (
            streams,
            await shared_campaign.measure(
                database, streams=streams, results=_SHARED_RESULTS, turns=_SHARED_TURNS
            ),
        )
        for streams in _STREAMS
    ]
    return aligned(
        ("streams", "campaigns/s", "one/s", "/campaigns", "campaigns us", "one us"),
        [
            (
                f"{streams}",
                f"{found.apart:,.0f}",
                f"{found.shared:,.0f}",
                f"{found.shared / found.apart:.2f}",
                f"{found.apart_cpu:.2f}",
                f"{found.shared_cpu:.2f}",
            )
            for streams, found in figures
        ],
    )


async def _replicas(database: Database) -> str:
    figures = [
        (
            streams,
            await replicas.measure(
                database, streams=streams, results=_SHARED_RESULTS, turns=_SHARED_TURNS
            ),
        )
        for streams in _REPLICA_STREAMS
    ]
    return aligned(
        ("streams each", "campaigns/s", "one/s", "/campaigns"),
        [
            (
                f"{streams}",
                f"{found.apart:,.0f}",
                f"{found.shared:,.0f}",
                f"{found.shared / found.apart:.2f}",
            )
            for streams, found in figures
        ],
    )


async def _floor(database: Database) -> float:
    return await asyncio.to_thread(database.insert_rate, _FLOOR_ROWS)


def _delays(what: str, delays: Sequence[float], memory_mib: float) -> str:
    return aligned(
        (what, "p50 ms", "p99 ms", "most ms", "service MiB"),
        [
            (
                f"{len(delays):,}",
                milliseconds(percentile(delays, 50)),
                milliseconds(percentile(delays, 99)),
                milliseconds(max(delays)),
                f"{memory_mib:.0f}",
            )
        ],
    )


async def _growth(database: Database, sizes: Sequence[int]) -> str:
    figures = [(rows, await growth.measure(database, rows=rows)) for rows in sizes]
    smallest = figures[0][1].rate
    return aligned(
        ("rows before", "results/s", "us a result", "/smallest", "last one ms", "service MiB"),
        [
            (
                f"{rows:,}",
                f"{found.rate:,.0f}",
                f"{1_000_000 / found.rate:.2f}",
                f"{smallest / found.rate:.2f}",
                milliseconds(found.completion),
                f"{found.memory_mib:.0f}",
            )
            for rows, found in figures
        ],
    )
