"""``python -m benchmarks.kept_figures``: what failures by code and samples cost a result.

One process stores the same results in pairs of databases: without the groups by code, which
make the figures, and with them; then without and with the index of what is not SENT, which
ListResults reads by. Each turn stores a commit without and with, and then one with and
without, and gives the ratio of their processor times. The table has the mean of the ratios,
without the largest and smallest fifth, and its standard error. Last is what one pass of the
sampler takes of its ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from benchmarks.databases import PostgresqlDatabases, SqliteFiles
from benchmarks.frames import RESULTS_A_FRAME
from benchmarks.table import aligned
from closeout.status.v1 import status_pb2
from service_runtime.caller import Caller
from service_runtime.database import Store
from service_runtime.logs import configure_logs
from soak.paired import Estimate, trimmed
from status_service.campaigns.service import CampaignService
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.grpc_api import validation
from status_service.migrations import MIGRATIONS
from status_service.recording import failure_groups
from status_service.recording.ledger import record
from status_service.recording.notifier import Notifier
from status_service.recording.sampler import Sampler
from status_service.recording.thinning import SAMPLE_INTERVAL
from status_service.recording.types import CampaignKey, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.databases import Database

_CALLER = Caller("default", "benchmark")
#: Campaigns, and frames of each in a commit: 8,000 results, about those of a commit at full load.
_CAMPAIGNS, _FRAMES = 4, 4
#: Turns before those that count.
_WARM_UP = 5


class _Way(NamedTuple):
    """How results are stored: a database of its own, with groups and with the index, or not."""

    name: str
    groups: bool = False
    indexed: bool = False


_GROUPS = (_Way("no-groups"), _Way("groups", groups=True))
_INDEX = (_Way("no-index"), _Way("index", indexed=True))
_PAIRS = (_GROUPS, _INDEX)


class _Mix(NamedTuple):
    """Results of which each ``every``-th is FAILED, with one of so many codes; 0: none is."""

    title: str
    every: int
    codes: int


_MIXES = (_Mix("all SENT", 0, 1), _Mix("1 % FAILED", 100, 3), _Mix("a third FAILED", 3, 10))


async def _prepared(url: str, way: _Way) -> Store:
    store = await asyncio.to_thread(Store, url, MIGRATIONS, holder="benchmark")
    if not way.indexed:
        await store.write(lambda connection: connection.exec_driver_sql(_DROP))
    service = CampaignService(
        store, Notifier(), stall_threshold=timedelta(minutes=5), largest_total=1
    )
    for key in _KEYS:
        await service.create(_CALLER, NewCampaign(key.campaign_id))
        await service.start(_CALLER, key.campaign_id, StartOrder(100_000_000))
    return store


_DROP = "DROP INDEX results_not_sent"
_KEYS = [CampaignKey(_CALLER.organisation, f"campaign-{number}") for number in range(_CAMPAIGNS)]


def _frames(mix: _Mix, first: int) -> list[bytes]:
    """Return the frames of a commit, serialised."""

    def result(sequence: int) -> status_pb2.Result:
        failed = mix.every and sequence % mix.every == 0
        return status_pb2.Result(
            sequence=sequence,
            outcome=status_pb2.Result.FAILED if failed else status_pb2.Result.SENT,
            attempt=1,
            code=str(550 + sequence // mix.every % mix.codes) if failed else "250",
            detail="as the server said it" if failed else "",
            provider_message_id=f"queued-as-{sequence:012}",
        )

    return [
        status_pb2.ReportResultsRequest(
            frame=number + 1,
            campaign_id=key.campaign_id,
            results=map(result, range(start, start + RESULTS_A_FRAME)),
        ).SerializeToString()
        for number in range(_FRAMES)
        for start in [first + number * RESULTS_A_FRAME]
        for key in _KEYS
    ]


async def _commit(
    store: Store, serialised: Sequence[bytes], way: _Way, cpu_seconds: Callable[[], float]
) -> float:
    """Store frames, from their bytes to the commit; return the processor time."""
    with ExitStack() as stack:
        if not way.groups:
            stack.enter_context(mock.patch.object(failure_groups, "move", _leave))
        begin = cpu_seconds()
        await _store(store, serialised)
        return cpu_seconds() - begin


def _leave(*_: object) -> None:
    """Count nothing by code."""


async def _store(store: Store, serialised: Sequence[bytes]) -> None:
    frames = []
    for text in serialised:
        request = status_pb2.ReportResultsRequest.FromString(text)
        _, [(campaign_id, results, problems)] = validation.frame(request)
        key = CampaignKey(_CALLER.organisation, campaign_id)
        if store.dialect == "postgresql":
            results.make_lines()
        frames.append(Frame(key, "sender", results, problems))
    await store.write(lambda connection: record(connection, frames))


async def _turn(
    stores: Mapping[_Way, Store],
    pair: tuple[_Way, _Way],
    commits: Sequence[Sequence[bytes]],
    cpu_seconds: Callable[[], float],
) -> tuple[float, float]:
    """Store commits in both ways; return the processor time without and with, seconds."""
    taken = dict.fromkeys(pair, 0.0)
    for number, serialised in enumerate(commits):
        gc.collect()
        for way in pair[:: -1 if number % 2 else 1]:
            taken[way] += await _commit(stores[way], serialised, way, cpu_seconds)
    without, with_it = taken.values()
    return without, with_it


async def _measure(
    stores: Mapping[_Way, Store], turns: int, cpu_seconds: Callable[[], float]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    frames = 2 * _FRAMES
    first = 1
    for mix in _MIXES:
        taken: dict[tuple[_Way, _Way], list[tuple[float, float]]] = {pair: [] for pair in _PAIRS}
        for _ in range(_WARM_UP + turns):
            commits = [_frames(mix, first + n * _FRAMES * RESULTS_A_FRAME) for n in range(2)]
            first += frames * RESULTS_A_FRAME
            for pair in _PAIRS:
                taken[pair].append(await _turn(stores, pair, commits, cpu_seconds))
        without = statistics.median(one for one, _ in taken[_GROUPS][_WARM_UP:])
        each_us = 1e6 * without / (_CAMPAIGNS * frames * RESULTS_A_FRAME)
        costs = [
            trimmed([100 * (other / one - 1) for one, other in taken[pair][_WARM_UP:]])
            for pair in _PAIRS
        ]
        rows.append((mix.title, f"{each_us:.2f}", *map(_percent, costs)))
    notifier = Notifier()
    notifier.changed.update(_KEYS)
    begin = cpu_seconds()
    await Sampler(stores[_GROUPS[1]], notifier).note()
    passed = (cpu_seconds() - begin) / SAMPLE_INTERVAL.total_seconds()
    rows.append((f"samples of {_CAMPAIGNS}", "", f"{100 * passed:+.2f} %", ""))
    return rows


def _percent(cost: Estimate) -> str:
    return f"{cost.mean:+.1f} +- {cost.error:.1f} %"


async def _stores(databases: Database) -> dict[_Way, Store]:
    return {way: await _prepared(databases.url(way.name), way) for pair in _PAIRS for way in pair}


async def main(turns: int) -> None:
    """Measure on both kinds of database."""
    headings = ("results", "us each without", "groups by code", "index of not SENT")
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        files = SqliteFiles(Path(name))
        stores = await _stores(files)
        rows = await _measure(stores, turns, time.process_time)
        sys.stdout.write(f"{files.title}\n{aligned(headings, rows)}\n")
        sys.stdout.flush()
        with PostgresqlDatabases(Path(name)) as databases:
            stores = await _stores(databases)
            backends = databases.backends()
            rows = await _measure(
                stores, turns, lambda: time.process_time() + databases.clock(backends)
            )
            for store in stores.values():
                store.close()
        sys.stdout.write(f"{databases.title}\n{aligned(headings, rows)}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kept_figures", description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="of each mix; two commits a way")
    given = parser.parse_args()
    configure_logs("warning", service="benchmark")
    gc.disable()  # a collection in the middle of a commit would count as its cost
    asyncio.run(main(given.turns))
