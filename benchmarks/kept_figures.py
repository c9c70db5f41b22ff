"""``python -m benchmarks.kept_figures``: what failures by code and samples cost a result.

One process stores the same results in two databases, in turns: as the service does it, and
without the groups by code and the index of what is not SENT. It prints the processor time
of a result in both ways, and what one pass of the sampler takes of its ten seconds.
"""

from __future__ import annotations

import asyncio
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
    from collections.abc import Callable, Sequence

_CALLER = Caller("default", "benchmark")
#: Campaigns, frames of each in a commit, and commits of each mix.
_CAMPAIGNS, _FRAMES, _COMMITS = 4, 4, 25


class _Mix(NamedTuple):
    """Results of which each ``every``-th is FAILED, with one of so many codes; 0: none is."""

    title: str
    every: int
    codes: int


_MIXES = (_Mix("all SENT", 0, 1), _Mix("1 % FAILED", 100, 3), _Mix("a third FAILED", 3, 10))


async def _prepared(url: str, *, kept: bool) -> Store:
    store = await asyncio.to_thread(Store, url, MIGRATIONS, holder="benchmark")
    if not kept:
        await store.write(lambda connection: connection.exec_driver_sql(_DROP))
    service = CampaignService(store, Notifier(), stall_threshold=timedelta(minutes=5))
    for key in _KEYS:
        await service.create(_CALLER, NewCampaign(key.campaign_id))
        await service.start(_CALLER, key.campaign_id, StartOrder(2**40))
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


async def _commit(store: Store, serialised: Sequence[bytes], *, kept: bool) -> None:
    """Store frames, from their bytes to the commit."""
    frames = []
    for text in serialised:
        request = status_pb2.ReportResultsRequest.FromString(text)
        _, [(campaign_id, results, problems)] = validation.frame(request)
        key = CampaignKey(_CALLER.organisation, campaign_id)
        if store.dialect == "postgresql":
            results.make_arrays()
        frames.append(Frame(key, "sender", results, problems))
    with ExitStack() as stack:
        if not kept:
            stack.enter_context(mock.patch.object(failure_groups, "move"))
        await store.write(lambda connection: record(connection, frames))


async def _measure(
    stores: dict[bool, Store], cpu_seconds: Callable[[], float]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    first = 1
    for mix in _MIXES:
        taken: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(_COMMITS):
            serialised = _frames(mix, first)
            first += _FRAMES * RESULTS_A_FRAME
            for kept in (turn % 2 == 0, turn % 2 == 1):
                begin = cpu_seconds()
                await _commit(stores[kept], serialised, kept=kept)
                taken[kept].append(cpu_seconds() - begin)
        each = _CAMPAIGNS * _FRAMES * RESULTS_A_FRAME
        # The server's clock of processor time is coarse: a mean, not a median.
        kept_us, bare_us = (
            1_000_000 * statistics.fmean(taken[kept]) / each for kept in (True, False)
        )
        share = f"{100 * (kept_us / bare_us - 1):+.1f} %"
        rows.append((mix.title, f"{bare_us:.2f}", f"{kept_us:.2f}", share))
    notifier = Notifier()
    notifier.changed.update(_KEYS)
    begin = cpu_seconds()
    await Sampler(stores[True], notifier).note()
    passed = (cpu_seconds() - begin) / SAMPLE_INTERVAL.total_seconds()
    rows.append((f"samples of {_CAMPAIGNS}", "", "", f"{100 * passed:+.2f} %"))
    return rows


async def main() -> None:
    """Measure on both kinds of database."""
    headings = ("results", "us each without", "with", "cost")
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        files = SqliteFiles(Path(name))
        stores = {kept: await _prepared(files.url(f"{kept}"), kept=kept) for kept in (True, False)}
        rows = await _measure(stores, time.process_time)
        sys.stdout.write(f"{files.title}\n{aligned(headings, rows)}\n")
        with PostgresqlDatabases(Path(name)) as databases:
            stores = {
                kept: await _prepared(databases.url(f"{kept}"), kept=kept) for kept in (True, False)
            }
            rows = await _measure(stores, lambda: time.process_time() + databases.cpu_seconds())
            for store in stores.values():
                store.close()
        sys.stdout.write(f"{databases.title}\n{aligned(headings, rows)}\n")


if __name__ == "__main__":
    asyncio.run(main())
