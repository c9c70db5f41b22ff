"""``python -m benchmarks.idle``: measure what services use that have nothing to do.

First a status service over a database with many open campaigns, three tenths of which stand
still: the processor time of the service and of PostgreSQL, and the seconds of the command
``closeout fix``. Then both services on SQLite with a hundred scheduled campaigns: their
processor time while nothing happens and while the status service is started again, with no
ended campaign and with many.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import reads
from benchmarks.databases import PostgresqlDatabases, SqliteFiles
from benchmarks.processes import service, status_service
from benchmarks.table import aligned
from closeout.aio import SenderClient, StatusClient
from closeout.sender.v1 import sender_pb2
from service_runtime.database import Store
from service_runtime.logs import configure_logs
from status_service.migrations import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.databases import Database

_NAME = "idle"
#: Seconds until a service has announced what stands still, 1,000 campaigns in a pass; until
#: both have done what they do at a start; and of a restart with all that follows from it.
_ANNOUNCED, _SETTLE, _RESTART = 150.0, 20.0, 15.0
_RESULTS_EACH = 10
_SCHEDULED, _AT_ONCE = 100, 16
_QUIET = {"CLOSEOUT_LOG_LEVEL": "error"}


async def _processors(clock: Callable[[], float], seconds: float) -> float:
    """Return how many processors are used, by what ``clock`` counts, over ``seconds``."""
    begin, used = time.perf_counter(), clock()
    await asyncio.sleep(seconds)
    return (clock() - used) / (time.perf_counter() - begin)


async def beside_open(databases: Database, campaigns: int, seconds: float) -> None:
    """Print what a status service costs beside so many open campaigns."""
    url = databases.url(_NAME)
    store = await asyncio.to_thread(Store, url, MIGRATIONS, holder="benchmark")
    try:
        results = _RESULTS_EACH * campaigns
        await store.write(partial(reads.fill, campaigns=campaigns, results=results))
        await store.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
    finally:
        store.close()
    async with status_service(databases, _NAME) as status:
        await asyncio.sleep(_ANNOUNCED)
        clocks = [("the service", status.cpu_seconds)]
        if isinstance(databases, PostgresqlDatabases):
            clocks.append(("the server", databases.cpu_seconds))
        used = await asyncio.gather(*(_processors(clock, seconds) for _, clock in clocks))
        standing = campaigns * reads.STANDING_STILL // 10
        _show(f"{databases.title}, {campaigns:,} open campaigns, {standing:,} standing still")
        for (name, _), share in zip(clocks, used, strict=True):
            _show(f"  {name}: {share:.4f} processors, over {seconds:.0f} s")
        _show(f"  closeout fix: {await reads.seconds_of_fix(status.address):.1f} s")


async def beside_ended(folder: Path, ended: int, seconds: float) -> tuple[str, ...]:
    """Return what both services use beside so many ended campaigns, as a row of the table."""
    async with AsyncExitStack() as first_run:
        status = await first_run.enter_async_context(service("status_service", folder, _QUIET))
        settings = {**_QUIET, "CLOSEOUT_SENDER_STATUS_ADDRESS": status.address}
        async with service("sender_service", folder, settings) as sender:
            await _make_campaigns(status.address, sender.address, ended)
            await asyncio.sleep(_SETTLE)
            idle = await asyncio.gather(
                _processors(status.cpu_seconds, seconds), _processors(sender.cpu_seconds, seconds)
            )
            await first_run.aclose()
            used = sender.cpu_seconds()
            there = {**_QUIET, "CLOSEOUT_STATUS_LISTEN": status.address}
            async with service("status_service", folder, there) as again:
                await asyncio.sleep(_RESTART)
                reconnect = (again.cpu_seconds(), sender.cpu_seconds() - used)
    return (f"{ended:,}", *(f"{share:.4f}" for share in idle), *(f"{s:.2f} s" for s in reconnect))


async def _make_campaigns(status_address: str, sender_address: str, ended: int) -> None:
    """Send campaigns of one message each until they are COMPLETED, and schedule some more."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    places = asyncio.Semaphore(_AT_ONCE)
    async with StatusClient(status_address) as statuses, SenderClient(sender_address) as sender:

        async def make(campaign_id: str, start_time: datetime | None) -> None:
            async with places:
                await sender.create_campaign(campaign_id=campaign_id, channel="null")
                person = sender_pb2.Recipient(address="person@example.com")
                await sender.upload_recipients(
                    campaign_id=campaign_id, upload_id="all", batches=[[person]]
                )
                await sender.start_campaign(campaign_id=campaign_id, start_time=start_time)
                if start_time is None:
                    async for _ in statuses.watch_campaign(campaign_id=campaign_id):
                        pass  # until it has ended

        async with asyncio.TaskGroup() as group:
            for number in range(_SCHEDULED):
                group.create_task(make(f"scheduled-{number}", tomorrow))
            for number in range(ended):
                group.create_task(make(f"ended-{number}", None))


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(campaigns: int, seconds: float) -> None:
    """Measure beside open campaigns on both kinds of database, then beside ended ones."""
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        folder = Path(name)
        await beside_open(SqliteFiles(folder), campaigns, seconds)
        with PostgresqlDatabases(folder) as databases:
            await beside_open(databases, campaigns, seconds)
        rows = []
        for ended in (0, campaigns):
            place = folder / f"ended-{ended}"
            place.mkdir()
            rows.append(await beside_ended(place, ended, seconds))
        _show(f"both services on SQLite, {_SCHEDULED} scheduled campaigns; processors while idle")
        _show(f"over {seconds:.0f} s, and processor time of a restart of the status service")
        _show(aligned(("ended", "status", "sender", "restart", "the sender's"), rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=10_000, help="open ones, and ended ones")
    parser.add_argument("--seconds", type=float, default=90, help="of each measurement")
    given = parser.parse_args()
    configure_logs("warning", service="benchmark")
    asyncio.run(main(given.campaigns, given.seconds))
