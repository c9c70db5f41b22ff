"""``python -m benchmarks.beside_large``: how long others wait beside a large campaign.

One campaign lacks a single result, in its middle; another lacks every second thousand. Calls
about them run one after the other, while a third campaign gets small frames and is read. The
table says what each call took (the median, where it is made several times), how long the
frames and reads of the third one waited from when each was due, and what the peak memory of
the service grew by.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.databases import PostgresqlDatabases, SqliteFiles
from benchmarks.load import start_campaigns
from benchmarks.other_campaign import FRAMES_A_SECOND, READS_A_SECOND, other_campaign
from benchmarks.processes import status_service
from benchmarks.table import aligned, milliseconds, percentile
from closeout.aio import StatusClient
from closeout.errors import FailedPreconditionError
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from benchmarks.databases import Database

#: How long a call may take, seconds.
_PATIENCE = 3_600.0
#: Messages of the halved campaign come in runs of so many with a result, and without.
_RUN = 1_000
#: A call that changes nothing is made so often.
_TIMES = 5
#: For how long the removal of a deleted campaign is watched, and nothing else happens, seconds.
_REMOVAL_SECONDS, _REST_SECONDS = 20.0, 3.0


@dataclass(frozen=True, slots=True)
class BesideFigures:
    """What others noticed of a call.

    Attributes:
        call: the call.
        seconds: how long it took, each time.
        acknowledgements: of frames of another campaign, seconds from when each was due.
        reads: of GetCampaign of another campaign, seconds from when each was due.
        memory_mib: what the peak memory of the service grew by.
    """

    call: str
    seconds: Sequence[float]
    acknowledgements: Sequence[float]
    reads: Sequence[float]
    memory_mib: float


async def measure(database: Database, *, rows: int) -> AsyncIterator[BesideFigures]:
    """Yield what others notice of each call about campaigns of ``rows`` messages.

    One statement for each campaign inserts what it has while no service runs.
    """
    name = f"beside-{rows}"
    async with status_service(database, name) as status:
        await start_campaigns(status.address, ["gap", "halved"], rows)
    await asyncio.to_thread(database.fill, name, rows, "gap", f"number <> {rows // 2}")
    await asyncio.to_thread(database.fill, name, rows, "halved", f"number % {2 * _RUN} < {_RUN}")
    async with (
        status_service(database, name) as status,
        StatusClient(status.address, timeout_seconds=_PATIENCE) as client,
        other_campaign(status.address) as other,
    ):
        for call, times, act in _calls(client, rows):
            other.take()
            peak = status.peak_memory_mib()
            seconds = []
            for _ in range(times):
                begin = time.perf_counter()
                await act()
                seconds.append(time.perf_counter() - begin)
            acknowledgements, reads = other.take()
            grown = status.peak_memory_mib() - peak
            yield BesideFigures(call, seconds, acknowledgements, reads, grown)
            await asyncio.sleep(1.0)


def _calls(
    client: StatusClient, rows: int
) -> Sequence[tuple[str, int, Callable[[], Awaitable[object]]]]:
    """Return the calls: what each is called, how often it is made, and itself."""

    async def refused() -> None:
        try:
            await client.mark_complete(campaign_id="gap")
        except FailedPreconditionError:
            return
        raise RuntimeError("MarkComplete was not refused")

    async def first_page() -> None:
        async for _ in client.list_missing_ranges(campaign_id="halved", page_size=1_000):
            return

    async def last_result() -> None:
        last = status_pb2.Result(sequence=rows // 2, outcome=status_pb2.Result.SENT)
        await client.batch_report_results(
            campaigns=[status_pb2.CampaignResults(campaign_id="gap", results=[last])]
        )
        found = await client.get_campaign(campaign_id="gap")
        if found.state != status_pb2.Campaign.COMPLETED:
            raise RuntimeError(f"not completed: {found}")

    async def two_explained() -> None:
        await asyncio.gather(
            client.explain_campaign(campaign_id="gap"),
            client.explain_campaign(campaign_id="halved"),
        )

    return [
        ("nothing", 1, lambda: asyncio.sleep(_REST_SECONDS)),
        ("ExplainCampaign", _TIMES, lambda: client.explain_campaign(campaign_id="gap")),
        ("two ExplainCampaign", _TIMES, two_explained),
        ("ListMissingRanges, first 1,000", _TIMES, first_page),
        ("MarkComplete, refused", _TIMES, refused),
        (
            "MarkComplete, force of a half",
            1,
            lambda: client.mark_complete(
                campaign_id="halved", force=True, reason="measured", timeout_seconds=_PATIENCE
            ),
        ),
        ("RepairCampaigns, dry run", _TIMES, lambda: client.repair_campaigns(dry_run=True)),
        ("the last result", 1, last_result),
        ("DeleteCampaign", 1, lambda: client.delete_campaign(campaign_id="gap", reason="measured")),
        ("its removal, the first seconds", 1, lambda: asyncio.sleep(_REMOVAL_SECONDS)),
    ]


async def table(database: Database, *, rows: int) -> AsyncIterator[str]:
    """Yield the table, with its heading first."""
    yield (
        f"\n{database.title}: beside campaigns of {rows:,} messages, while these calls run;\n"
        f"frames of one result, {FRAMES_A_SECOND} a second, and GetCampaign, {READS_A_SECOND} a"
        " second, from when each is due"
    )
    yield aligned(
        (
            "call",
            "ms",
            "frames p50 ms",
            "p99 ms",
            "most ms",
            "reads p50 ms",
            "p99 ms",
            "most ms",
            "more MiB",
        ),
        [
            (
                found.call,
                milliseconds(statistics.median(found.seconds)),
                *_spread(found.acknowledgements),
                *_spread(found.reads),
                f"{found.memory_mib:.0f}",
            )
            async for found in measure(database, rows=rows)
        ],
    )


def _spread(delays: Sequence[float]) -> Sequence[str]:
    if not delays:
        return ("", "", "")
    return [milliseconds(percentile(delays, percent)) for percent in (50, 99, 100)]


async def main(rows: int) -> None:
    """Measure on both kinds of database."""
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        folder = Path(name)
        with PostgresqlDatabases(folder) as databases:
            for database in (SqliteFiles(folder), databases):
                async for line in table(database, rows=rows):
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_large", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="messages of a campaign")
    uvloop.run(main(parser.parse_args().rows))
