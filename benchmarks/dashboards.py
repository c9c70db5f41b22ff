"""``python -m benchmarks.dashboards``: measure what open pages cost the status service.

Of many open campaigns, twenty receive results. Half of the pages are lists, the others
show one campaign each; every page has a session of its own. The processor time of the
service is measured first without pages, then with them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import uvloop

from benchmarks import reads
from benchmarks.databases import PostgresqlDatabases
from benchmarks.processes import status_service
from benchmarks.table import aligned
from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2
from service_runtime.caller import ALL_SCOPES, Caller, Scope
from service_runtime.database import Store
from service_runtime.logs import configure_logs
from status_service.access.key_access import KeyAccess
from status_service.access.key_service import KeyService, NewKeyOrder
from status_service.dashboard.sessions import Sessions
from status_service.migrations import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.processes import Service

#: Campaigns that receive results, how many at once, and how often, seconds.
_BUSY, _RESULTS, _BETWEEN = 20, 20, 0.5
#: Pages that open at once, and how long the service is left alone after that, seconds.
_AT_ONCE, _OPENING = 8, 10.0
_BUSY_TOTAL = 1_000_000


@dataclass
class _Organisation:
    name: str
    key: str
    cookies: list[str]
    busy: list[str] = field(default_factory=list)


async def _prepared(
    url: str, *, campaigns: int, organisations: int, pages: int
) -> Sequence[_Organisation]:
    """Fill a database; return its organisations, each with its share of campaigns and pages."""
    store = await asyncio.to_thread(Store, url, MIGRATIONS, holder="benchmark")
    try:
        await store.write(
            lambda connection: reads.fill(connection, campaigns=campaigns, results=10 * campaigns)
        )
        await store.write(
            lambda connection: connection.execute(
                sa.text("UPDATE campaigns SET organisation = 'org-' || campaign % :organisations"),
                {"organisations": organisations},
            )
        )
        await store.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
        keys, sessions = KeyService(store, KeyAccess(store)), Sessions(store)
        found = []
        for number in range(organisations):
            name = f"org-{number}"
            scopes = ALL_SCOPES - {Scope.SERVICE}
            made = await keys.create(
                Caller(name, "benchmark"), NewKeyOrder("benchmark", scopes, None)
            )
            reader = Caller(name, "benchmark", key_id=made.key.key_id)
            cookies = [
                await sessions.begin(reader)
                for _ in range(pages // organisations + (number < pages % organisations))
            ]
            found.append(_Organisation(name, made.secret.text, cookies))
        return found
    finally:
        store.close()


@asynccontextmanager
async def _results(address: str, organisations: Sequence[_Organisation]) -> AsyncIterator[None]:
    """Report results of some campaigns while the block runs."""
    clients = {one.name: StatusClient(address, api_key=one.key) for one in organisations}
    busy = list(zip(range(_BUSY), itertools.cycle(organisations), strict=False))
    for number, one in busy:
        one.busy.append(f"busy-{number}")
        await clients[one.name].create_campaign(campaign_id=one.busy[-1], display_name="Busy")
        await clients[one.name].start_campaign(campaign_id=one.busy[-1], total=_BUSY_TOTAL)

    async def report(client: StatusClient, campaign_id: str) -> None:
        for first in range(1, _BUSY_TOTAL, _RESULTS):
            results = [
                status_pb2.Result(sequence=first + n, outcome=status_pb2.Result.SENT, attempt=1)
                for n in range(_RESULTS)
            ]
            share = status_pb2.CampaignResults(campaign_id=campaign_id, results=results)
            await client.batch_report_results(campaigns=[share])
            await asyncio.sleep(_BETWEEN)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(report(clients[one.name], f"busy-{number}")) for number, one in busy
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
    for client in clients.values():
        await client.close()


class _Pages:
    """So many pages, and what they got."""

    def __init__(self, number: int) -> None:
        self.events = 0
        self.bytes = 0
        self._all_open = asyncio.Event()
        self._closed = number
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, address: str, path: str, cookie: str) -> None:
        """Read the stream of a page to its end."""
        host, _, port = address.rpartition(":")
        async with self._turns:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {address}\r\n"
                f"Cookie: closeout-session={cookie}\r\n\r\n".encode()
            )
            status = await reader.readline()
        try:
            if b" 200 " not in status:
                raise RuntimeError(f"{path}: {status!r}")
            self._closed -= 1
            if not self._closed:
                self._all_open.set()
            while line := await reader.readline():
                self.bytes += len(line)
                self.events += line.startswith(b"data: ")
            raise RuntimeError(f"{path}: the stream ended")
        finally:
            writer.close()

    async def opened(self) -> None:
        """Return when all of them are open, and have what they begin with."""
        async with asyncio.timeout(12 * _OPENING):
            await self._all_open.wait()
        await asyncio.sleep(_OPENING)


@asynccontextmanager
async def _opened(address: str, organisations: Sequence[_Organisation]) -> AsyncIterator[_Pages]:
    """Hold the pages of all sessions open while the block runs."""
    pages = _Pages(sum(len(one.cookies) for one in organisations))
    async with asyncio.TaskGroup() as group:
        tasks = []
        for one in organisations:
            names = itertools.cycle(one.busy or [""])
            for number, cookie in enumerate(one.cookies):
                name = next(names) if number % 2 else ""
                path = f"/campaigns/{name}/events" if name else "/events"
                tasks.append(group.create_task(pages.read(address, path, cookie)))
        await pages.opened()
        try:
            yield pages
        finally:
            for task in tasks:
                task.cancel()


async def _processors(
    service: Service, databases: PostgresqlDatabases, seconds: float
) -> tuple[float, float]:
    """Return how many processors the service and its database keep busy."""
    begin = time.perf_counter()
    before = service.cpu_seconds(), databases.cpu_seconds()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - begin
    return (
        (service.cpu_seconds() - before[0]) / elapsed,
        (databases.cpu_seconds() - before[1]) / elapsed,
    )


async def measure(
    databases: PostgresqlDatabases,
    *,
    campaigns: int,
    organisations: int,
    pages: int,
    seconds: float,
) -> tuple[str, ...]:
    """Return a row of the table."""
    name = f"dashboards-{organisations}"
    prepared = await _prepared(
        databases.url(name), campaigns=campaigns, organisations=organisations, pages=pages
    )
    async with status_service(databases, name) as service, _results(service.address, prepared):
        await asyncio.sleep(_OPENING)
        alone = await _processors(service, databases, seconds)
        async with _opened(service.http_address, prepared) as opened:
            events, sent = opened.events, opened.bytes
            shown = await _processors(service, databases, seconds)
            events, sent = opened.events - events, opened.bytes - sent
        return (
            f"{organisations}",
            f"{pages}",
            f"{alone[0]:.2f}",
            f"{shown[0]:.2f}",
            f"{shown[0] - alone[0]:.2f}",
            f"{shown[1] - alone[1]:.2f}",
            f"{events / seconds:,.0f}",
            f"{sent / seconds / 1024:,.0f}",
            f"{service.peak_memory_mib():.0f}",
        )


async def main(campaigns: int, organisations: Sequence[int], pages: int, seconds: float) -> None:
    """Measure each number of organisations on PostgreSQL, and print the table."""
    with (
        tempfile.TemporaryDirectory(prefix="closeout-bench-") as name,
        PostgresqlDatabases(Path(name)) as databases,
    ):
        rows = [
            await measure(
                databases,
                campaigns=campaigns,
                organisations=number,
                pages=pages,
                seconds=seconds,
            )
            for number in organisations
        ]
    sys.stdout.write(
        f"{campaigns:,} open campaigns, {_BUSY} of them receive"
        f" {_BUSY * _RESULTS / _BETWEEN:,.0f} results a second; processors busy\n"
    )
    headings = (
        *("organisations", "pages", "service without", "with", "cost", "PostgreSQL cost"),
        *("events/s", "KiB/s", "service MiB"),
    )
    sys.stdout.write(f"{aligned(headings, rows)}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboards", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=10_000, help="open campaigns")
    parser.add_argument("--organisations", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--pages", type=int, default=500, help="open pages in all")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to measure")
    given = parser.parse_args()
    configure_logs("warning", service="benchmark")
    uvloop.run(main(given.campaigns, given.organisations, given.pages, given.seconds))
