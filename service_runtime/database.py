"""The database of a service: its time, and the threads that touch it.

What is particular to a kind of database is in :mod:`.sqlite` and :mod:`.postgresql`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from service_runtime import postgresql_signs, sqlite, tracing
from service_runtime.database_failures import FailureLog
from service_runtime.errors import (
    StartupError,
    StoreBusyError,
    StoreFullError,
    StoreUnavailableError,
    in_one_line,
)
from service_runtime.postgresql_signs import check_postgresql_url, is_lock_timeout
from service_runtime.sqlite import check_sqlite_url, open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine.interfaces import ExceptionContext

    from service_runtime.engines import Engines
    from service_runtime.migrations import Migrations

T = TypeVar("T")

log = structlog.get_logger()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Reads that may run at once, and besides them reads that grow with what is read.
_READERS, _LONG_READERS = 2, 2
#: A write that takes longer, seconds, counts as a database that does not answer.
_LONG_WRITE = 10.0
#: What a transaction fails with where the database, not the statement, is at fault.
_UNAVAILABLE = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,  # such as a primary that became a standby
    sa.exc.TimeoutError,
    StoreUnavailableError,
)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A point in time: aware UTC ``datetime`` in Python, integer microseconds in SQL."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Convert to microseconds since 1970."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Convert from microseconds since 1970."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class database_now(FunctionElement[datetime]):  # noqa: N801 - reads as a SQL function
    """The database's clock at the moment of the statement: the only clock that is compared."""

    type = UtcTime()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: Any, **kwargs: Any) -> str:  # noqa: ARG001
    return "CAST(ROUND(unixepoch('subsec') * 1000) * 1000 AS INTEGER)"


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: Any, **kwargs: Any) -> str:  # noqa: ARG001
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


def read_clock(connection: sa.Connection) -> datetime:
    """Return the database's time."""
    return connection.execute(sa.select(database_now())).scalar_one()


class Store:
    """The database of one service, reached from worker threads only.

    A cancelled call can never reach into a transaction: ``work`` runs to its end
    in its thread, whatever becomes of the caller.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER@HOST/DATABASE``.
        migrations: the versions of its tables; it is brought to the newest.
        holder: who opens it, for the message to a second process, as in
            ``status service``.

    Attributes:
        url: the URL without its password.
        writers: how many writes run at once; further ones wait their turn.
        listen: receives what others change, or None where nobody else can: :mod:`.engines`.

    Raises:
        StartupError: the database can't be used; the text says why.
    """

    def __init__(self, url: str, migrations: Migrations, *, holder: str) -> None:
        self._engines = open_engines(url, holder=holder)
        self.url = self._engines.url
        self.dialect = self._engines.writer.dialect.name
        self.writers = self._engines.writers
        self.listen = self._engines.listen
        self._holder = holder
        self._migrations = migrations
        self._failure = ""  # why the last transaction failed, until a probe succeeds
        self._failures = FailureLog()
        self._write_begins: dict[int, float] = {}  # by thread, on the monotonic clock
        self._write_threads = ThreadPoolExecutor(self.writers, thread_name_prefix="store-write")
        self._read_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._long_read_threads = ThreadPoolExecutor(
            _LONG_READERS, thread_name_prefix="store-long-read"
        )
        try:
            migrations.migrate(self._engines)
        except BaseException:
            self.close()
            raise
        for engine in (self._engines.writer, self._engines.reader):
            event.listen(engine, "handle_error", _renew)

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in one write transaction.

        Raises:
            StoreUnavailableError: the transaction failed and nothing of it stays,
                or, where the failure is one of commit, its outcome is not known.
            StoreBusyError: somebody held a lock for too long; nothing of it stays.
        """

        def timed() -> T:
            thread = threading.get_ident()
            self._write_begins[thread] = time.monotonic()
            try:
                return _transaction(self._engines.writer, work)
            finally:
                del self._write_begins[thread]

        return await self._run(
            self._write_threads,
            tracing.transaction(timed, work, system=self.dialect, writes=True),
        )

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` on one consistent snapshot. ``work`` must neither write nor lock.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        return await self._read(self._read_threads, work)

    async def read_long(self, work: Callable[[sa.Connection], T]) -> T:
        """Do what :meth:`read` does for work that grows with what it reads.

        Such reads have threads and connections of their own, so they wait for one another
        and no :meth:`read` waits for them.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        return await self._read(self._long_read_threads, work)

    async def _read(self, threads: ThreadPoolExecutor, work: Callable[[sa.Connection], T]) -> T:
        run = partial(_transaction, self._engines.reader, work)
        return await self._run(
            threads, tracing.transaction(run, work, system=self.dialect, writes=False)
        )

    async def probe(self) -> None:
        """Find out whether something can be stored; ``answering`` says so afterwards.

        Raises:
            StoreUnavailableError: it can't.
        """
        await self.write(self._engines.probe)
        self._failure = ""

    async def check_version(self) -> None:
        """Check that the tables are still of a version that this code knows.

        Raises:
            StartupError: they are not; the text says what to do.
            StoreUnavailableError: the database does not answer.
        """
        await self.read(self._migrations.check)

    @property
    def failure(self) -> str:
        """Why writes are not answered, for people; empty while they are."""
        return "" if self.answering else self._failure or "the database does not answer"

    @property
    def answering(self) -> bool:
        """Whether writes are answered.

        False from a failed transaction to the next probe that succeeds, and while a
        write takes so long that those behind it wait as for a database that is gone.
        """
        return not self._failure and self.longest_write_seconds <= _LONG_WRITE

    @property
    def longest_write_seconds(self) -> float:
        """For how long the oldest of the writes that run now has run; 0: none runs."""
        begins = list(self._write_begins.values())
        return time.monotonic() - min(begins) if begins else 0.0

    async def _run(self, threads: ThreadPoolExecutor, transaction: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, transaction)
        except _UNAVAILABLE as error:
            words = in_one_line(error)
            if is_lock_timeout(error):
                await self.read(self._engines.free_locks)
                raise StoreBusyError(
                    f"a lock is held by others ({words}); try again", retry_after_seconds=1.0
                ) from error
            self._failures.add(words)
            disk = self._full_disk(error)
            if disk:
                self._failure = f"{disk} is full: free some space"
                raise StoreFullError(
                    f"{self._failure} ({words})", retry_after_seconds=1.0
                ) from error
            self._failure = f"the database does not answer ({words})"
            raise StoreUnavailableError(
                f"{self._failure}; try again", retry_after_seconds=1.0
            ) from error

    def _full_disk(self, error: Exception) -> str:
        """Return which disk is full, if that is why a transaction failed."""
        if sqlite.is_disk_full(error):
            return f"the disk of the {self._holder}"
        on_server = postgresql_signs.is_disk_full(error)
        return "the disk of the database server" if on_server else ""

    async def stop(self, seconds: float) -> None:
        """Close it beside the event loop, and wait for that at most ``seconds``.

        A transaction that hangs is left: the database undoes it when the process ends.
        """
        closing: Future[None] = Future()

        def close() -> None:
            try:
                self.close()
            except BaseException as error:
                closing.set_exception(error)
                raise
            closing.set_result(None)

        threading.Thread(target=close, name="store-close", daemon=True).start()
        done, _ = await asyncio.wait([asyncio.wrap_future(closing)], timeout=seconds)
        for closed in done:
            closed.result()
        if not done:
            log.warning(
                "database_not_closed",
                seconds=seconds,
                action="a transaction hangs and is undone; see what the database waits for",
            )

    def close(self) -> None:
        """Finish what was submitted, close the connections, let go of the database."""
        self._write_threads.shutdown()
        self._read_threads.shutdown()
        self._long_read_threads.shutdown()
        self._engines.close()


def _transaction(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _renew(context: ExceptionContext) -> None:
    """Take a failure of the database for the end of its connections.

    The next try begins on a new connection, and so do all others: after a failover an
    old one may still answer, and lead to a server that takes no writes.
    """
    error = context.sqlalchemy_exception
    if isinstance(error, _UNAVAILABLE) and not is_lock_timeout(error):
        context.is_disconnect = True


def open_engines(url: str, *, holder: str) -> Engines:
    """Return the engines for a URL; connects when they are used.

    Raises:
        StartupError: it is no URL of a database that is supported, or another
            process has the file.
    """
    parsed = check_url(url)
    readers = _READERS + _LONG_READERS
    if parsed.get_backend_name() == "sqlite":
        return open_sqlite(parsed, holder=holder, readers=readers)
    from service_runtime import postgresql  # noqa: PLC0415 - SQLite needs no driver of it

    return postgresql.open_postgresql(parsed, holder=holder, readers=readers)


def check_url(url: str) -> sa.URL:
    """Return a URL whose database is of a supported kind; open and make nothing.

    Raises:
        StartupError: it is no URL of such a database; the text has no password.
    """
    parsed = _parsed(url)
    match parsed.get_backend_name():
        case "sqlite":
            check_sqlite_url(parsed)
        case "postgresql":
            check_postgresql_url(parsed)
        case _:
            raise StartupError(
                f"{parsed.get_backend_name()}: only sqlite:///PATH and"
                " postgresql://USER@HOST/DATABASE are supported"
            )
    return parsed


def is_missing(url: str) -> bool:
    """Return whether a URL names a file that is not there, so that opening it makes one.

    Raises:
        StartupError: it is no URL of a database.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return False
    return not Path(parsed.database).exists()


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        # Not shown: a password may be anywhere in what is no URL.
        raise StartupError(
            "this is not a database URL, as in sqlite:///status.db or"
            " postgresql://USER@HOST/DATABASE"
        ) from error
