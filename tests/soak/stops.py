"""Stops of a status service that hangs, at every step of a write, on both databases."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path

from acceptance.failpoints import Failpoint
from acceptance.hanging_stops import GRACE_SECONDS, HANGS, stop_while_it_hangs
from integration.databases import Database, PostgresqlDatabase, SqliteDatabase
from providers.postgresql_server import PostgresqlServer

#: So many services are stopped at once.
_AT_ONCE = 2
#: A stop ends at most so long after its grace, seconds.
_BEYOND_SECONDS = 2.0
#: After the second signal the process ends within so many seconds.
_FORCED_SECONDS = 1.0


async def stop_everywhere() -> list[str]:
    """Stop a service at every step, by one signal and by several; return what went wrong."""
    found: list[str] = []
    running = asyncio.Semaphore(_AT_ONCE)
    with PostgresqlServer() as server, tempfile.TemporaryDirectory() as folder:

        async def one(number: int, kind: str, case: tuple[int, Failpoint], *, again: bool) -> None:
            place = Path(folder) / f"stop-{number}"
            place.mkdir()
            async with running:
                database: Database = (
                    SqliteDatabase(place / "status.db")
                    if kind == "sqlite"
                    else PostgresqlDatabase(await asyncio.to_thread(server.create_database))
                )
                text = await _violation(place, database, case, again=again)
            if text:
                found.append(f"{kind}, {case[1]}, {'twice' if again else 'once'}: {text}")

        cases = itertools.product(("sqlite", "postgresql"), HANGS, (False, True))
        async with asyncio.TaskGroup() as group:
            for number, (kind, case, again) in enumerate(cases):
                group.create_task(one(number, kind, case, again=again))
    return found


async def _violation(
    place: Path, database: Database, case: tuple[int, Failpoint], *, again: bool
) -> str:
    """Return what went wrong; empty: nothing."""
    frame, point = case
    try:
        took = await stop_while_it_hangs(place, database, frame, point, impatient=again)
    except (AssertionError, TimeoutError) as error:
        return repr(error)
    limit = _FORCED_SECONDS if again else GRACE_SECONDS + _BEYOND_SECONDS
    return f"ended after {took:.2f} s" if took > limit else ""
