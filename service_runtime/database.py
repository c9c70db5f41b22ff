"""The database of a service: engines, time, and the threads that touch it.

SQLite is driven by the rules that keep an acknowledged commit: WAL with
``synchronous=FULL``, ``BEGIN IMMEDIATE`` for every transaction that writes, one
connection that writes. docs/decisions.md says what was measured.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
import structlog
from pysqlite3 import dbapi2
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from service_runtime.database_file import DatabaseFile
from service_runtime.errors import StartupError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()
T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Reads that may run at once beside the one writer.
_READERS = 2
#: Exists within the transaction of a probe only.
_PROBE = sa.Table("store_probe", sa.MetaData(), sa.Column("content", sa.LargeBinary))
_PROBE_BYTES = 16_384


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A point in time: aware UTC ``datetime`` in Python, integer microseconds in SQLite."""

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


def read_clock(connection: sa.Connection) -> datetime:
    """Return the database's time."""
    return connection.execute(sa.select(database_now())).scalar_one()


class Store:
    """The database of one service, reached from worker threads only.

    A cancelled call can never reach into a transaction: ``work`` runs to its end
    in its thread, whatever becomes of the caller. One thread writes, so what is
    written is ordered; a few read beside it.

    Args:
        url: ``sqlite:///PATH``.
        metadata: the tables; created where they are missing.
        holder: who opens it, for the message to a second process, as in
            ``status service``.

    Raises:
        StartupError: the database can't be used; the text says why.
    """

    def __init__(self, url: str, metadata: sa.MetaData, *, holder: str) -> None:
        self._file = DatabaseFile(_sqlite_path(url), holder=holder)
        self._writer = _sqlite_engine(url, begin="BEGIN IMMEDIATE")
        self._reader = _sqlite_engine(url, begin="BEGIN DEFERRED")
        #: False from a failed transaction to the next probe that succeeds.
        self.answering = True
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._read_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        try:
            metadata.create_all(self._writer)
        except sa.exc.DBAPIError as error:
            self.close()
            raise StartupError(f"can't open the database {url}: {error.orig}") from error

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` in one write transaction, after all that was submitted before.

        Raises:
            StoreUnavailableError: the transaction failed and nothing of it stays,
                or, where the failure is one of commit, its outcome is not known.
        """
        return await self._run(self._write_thread, self._writer, work)

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` on one consistent snapshot. ``work`` must not write.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        return await self._run(self._read_threads, self._reader, work)

    async def probe(self) -> None:
        """Find out whether something can be stored; ``answering`` says so afterwards.

        A transaction that changes nothing succeeds on a full disk too, so this one
        takes up pages and gives them back.

        Raises:
            StoreUnavailableError: it can't.
        """

        def written(connection: sa.Connection) -> None:
            _PROBE.create(connection)
            connection.execute(sa.insert(_PROBE).values(content=bytes(_PROBE_BYTES)))
            _PROBE.drop(connection)

        await self.write(written)
        self.answering = True

    async def _run(
        self, threads: ThreadPoolExecutor, engine: sa.Engine, work: Callable[[sa.Connection], T]
    ) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(threads, transaction)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            cause = getattr(error, "orig", None) or error
            self.answering = False
            log.warning("store_failed", error=str(cause))
            raise StoreUnavailableError(
                f"the database does not answer ({cause}); try again", retry_after_seconds=1.0
            ) from error

    def close(self) -> None:
        """Finish what was submitted, close the connections, let go of the file."""
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        self._reader.dispose()
        self._writer.dispose()
        self._file.release()


def _sqlite_path(url: str) -> str:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise StartupError(f"{url!r} is not a database URL, as in sqlite:///status.db") from error
    # A database in memory would be another one for each connection.
    in_memory = (parsed.database or "").startswith((":memory:", "file:"))
    if parsed.drivername != "sqlite" or not parsed.database or in_memory or parsed.query:
        raise StartupError(f"{parsed.render_as_string()}: only sqlite:///PATH is supported")
    return parsed.database


def _sqlite_engine(url: str, *, begin: str) -> sa.Engine:
    engine = sa.create_engine(
        url, module=dbapi2, poolclass=sa.QueuePool, pool_size=_READERS, max_overflow=0
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:  # noqa: ARG001
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=5000",
            "foreign_keys=ON",
            "journal_size_limit=67108864",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
