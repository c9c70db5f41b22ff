"""The database of a service, and the threads that touch it.

What is particular to a kind of database is in :mod:`.sqlite` and :mod:`.postgresql`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy import event

from service_runtime import postgresql_signs, sqlite, tracing
from service_runtime.database_failures import FailureLog
from service_runtime.database_url import open_engines
from service_runtime.engines import LONG_READERS, READERS
from service_runtime.errors import (
    StoreBusyError,
    StoreFullError,
    StoreUnavailableError,
    in_one_line,
)
from service_runtime.postgresql_signs import is_lock_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine.interfaces import ExceptionContext

    from service_runtime.migrations import Migrations

T = TypeVar("T")

log = structlog.get_logger()

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
        self._writing = 0
        self._write_begins: dict[int, float] = {}  # by thread, on the monotonic clock
        self._write_threads = ThreadPoolExecutor(self.writers, thread_name_prefix="store-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._long_read_threads = ThreadPoolExecutor(
            LONG_READERS, thread_name_prefix="store-long-read"
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

        self._writing += 1
        try:
            return await self._run(
                self._write_threads,
                tracing.transaction(timed, work, system=self.dialect, writes=True),
            )
        finally:
            self._writing -= 1

    @property
    def has_free_writer(self) -> bool:
        """Whether a write would begin at once."""
        return self._writing < self.writers

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
