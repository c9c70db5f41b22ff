"""The databases on which the status service is measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

import psutil
import psycopg
from pysqlite3 import dbapi2

from benchmarks import floor
from providers.postgresql_server import PostgresqlServer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

#: The default of PostgreSQL; the server of the tests has less.
_SERVER_SETTINGS = {"shared_buffers": "128MB"}
#: Inserts rows like those of reported results; ``_COUNT`` sets their counter.
_FILL = (
    "INSERT INTO results (campaign, sequence, outcome, attempt, code, detail,"
    " provider_message_id, finish_time, record_time)"
    " SELECT campaign, number, 4, 1, '250', '', 'queued-as-' || substr(CAST(1000000000000 + number"
    " AS TEXT), 2), start_time, start_time FROM campaigns, {numbers}"
    " WHERE campaign_id = '{campaign_id}' AND {where}"
)
_SQLITE_NUMBERS = (
    "(WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted"
    " WHERE number < {rows}) SELECT number FROM counted) AS counted"
)
_POSTGRESQL_NUMBERS = "generate_series(1, {rows}) AS counted (number)"
_COUNT = (
    "UPDATE campaigns SET progress_time = start_time, sent ="
    " (SELECT count(*) FROM results WHERE results.campaign = campaigns.campaign)"
    " WHERE campaign_id = '{campaign_id}'"
)


class Database(Protocol):
    """Creates databases for status services, and measures its floor.

    Attributes:
        title: the heading of its figures.
        takes_replicas: whether several services may use one database.
        folder: the folder of its files and of the logs of services.
    """

    title: str
    takes_replicas: bool
    folder: Path

    def url(self, name: str) -> str:
        """Return the URL of the database ``name``; create it if it does not exist."""

    def insert_rate(self, rows: int) -> float:
        """Return how many result rows a second the bare driver inserts."""

    def fill(self, name: str, rows: int, campaign_id: str = "growing", where: str = "true") -> None:
        """Store results 1..``rows`` of a campaign in ``name``, as SENT.

        Args:
            name: the database.
            rows: the last of them.
            campaign_id: the campaign, which has no results.
            where: only those whose ``number`` fulfils this condition.
        """


class SqliteFiles:
    """SQLite: a file for each database."""

    title = "SQLite, synchronous = FULL"
    takes_replicas = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"sqlite:///{self.folder / name}.db"

    def insert_rate(self, rows: int) -> float:
        """Return the rate of multi-row INSERTs, committed like those of the service."""
        return floor.sqlite_rate(self.folder / "floor.db", rows)

    def fill(self, name: str, rows: int, campaign_id: str = "growing", where: str = "true") -> None:
        """Fill a file that no service has open."""
        connection = dbapi2.connect(str(self.folder / f"{name}.db"))
        try:
            with connection:
                numbers = _SQLITE_NUMBERS.format(rows=rows)
                values = {"numbers": numbers, "campaign_id": campaign_id, "where": where}
                connection.execute(_FILL.format(**values))
                connection.execute(_COUNT.format(**values))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()


class PostgresqlDatabases:
    """PostgreSQL: databases of one server, which runs until the block ends."""

    title = "PostgreSQL, fsync = on"
    takes_replicas = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = PostgresqlServer(_SERVER_SETTINGS)
        self._urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the server and its data."""
        self._server.close()

    def url(self, name: str) -> str:
        """Return the URL of a database of the server."""
        if name not in self._urls:
            self._urls[name] = self._server.create_database()
        return self._urls[name]

    def _pid(self) -> int:
        file = self._server.folder / "data" / "postmaster.pid"
        return int(file.read_text().partition("\n")[0])

    def cpu_seconds(self) -> float:
        """Return the processor time of the server and its open connections so far."""
        server = psutil.Process(self._pid())
        seconds = 0.0
        for process in (server, *server.children()):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # a worker that has ended
            seconds += times.user + times.system
        return seconds

    def backends(self) -> list[int]:
        """Return the process ids of the connections that are open now."""
        server = psutil.Process(self._pid())
        return [child.pid for child in server.children() if " idle" in " ".join(child.cmdline())]

    def clock(self, backends: Iterable[int]) -> float:
        """Return the processor time of connections so far, seconds; exact to microseconds."""
        # The number of such a clock is what clock_getcpuclockid(3) makes of a process id.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in backends)

    def insert_rate(self, rows: int) -> float:
        """Return the rate of INSERTs from arrays, committed like those of the service."""
        url = self._server.create_database()
        try:
            return floor.postgresql_rate(url, rows)
        finally:
            self._server.drop_database(url)

    def fill(self, name: str, rows: int, campaign_id: str = "growing", where: str = "true") -> None:
        """Fill a database that no service is connected to."""
        numbers = _POSTGRESQL_NUMBERS.format(rows=rows)
        values = {"numbers": numbers, "campaign_id": campaign_id, "where": where}
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(_FILL.format(**values).encode())
            connection.execute(_COUNT.format(**values).encode())
            # Otherwise autovacuum would run in the middle of the measurement.
            connection.execute("VACUUM (ANALYZE) results")
