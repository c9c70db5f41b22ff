"""PostgreSQL: any number of processes on one database.

Writers run READ COMMITTED and lock the campaign's row first: what they read after
that is what was committed before. Readers run on a snapshot. A server that forgets
commits is refused on every new connection, not at the start alone.
"""

from __future__ import annotations

import time
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import sqlalchemy as sa
import structlog
from psycopg import sql
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from service_runtime import copying
from service_runtime.engines import Engines, url_of
from service_runtime.errors import StoreUnavailableError
from service_runtime.postgresql_signs import check_postgresql_url, is_lock_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.engine import URL

log = structlog.get_logger()

#: The advisory lock of whoever migrates a database: "Closeout" in ASCII.
MIGRATION_LOCK = int.from_bytes(b"Closeout", "big")
#: How long another process may migrate while this one waits.
_LONGEST_MIGRATION_SECONDS = 600
#: The oldest version that its makers still maintain.
_OLDEST = 14
#: A peer that vanished without a word is noticed after about 30 s. Waiting for a lock
#: ends, so that a lock that somebody holds by hand is reported, not waited for in silence.
#: A statement has one process of the server: a count of millions of rows by several takes
#: the processors from everybody else.
_CONNECT = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "client_encoding": "utf8",
}
_OPTIONS = (
    "-c lock_timeout=2s -c idle_in_transaction_session_timeout=60s"
    " -c max_parallel_workers_per_gather=0"
)
#: A connection that was not used for longer is tried before it is used, seconds.
_IDLE_SECONDS = 1.0
#: One is made ready while the server is busy with the other.
_WRITERS = 2
#: Written to the log of the server and gone at the end of the transaction.
_PROBE = sa.Table(
    "store_probe",
    sa.MetaData(),
    sa.Column("content", sa.Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
_SETTINGS = (
    "SELECT current_setting('server_version_num')::int / 10000,"
    " current_setting('server_encoding'), current_setting('fsync'),"
    " current_setting('full_page_writes'), current_setting('synchronous_commit'),"
    " pg_is_in_recovery()"
)


def open_postgresql(url: URL, *, holder: str, readers: int) -> Engines:
    """Return the engines on a server that keeps what it commits.

    Raises:
        StartupError: the URL names another driver.
    """
    check_postgresql_url(url)
    writer = postgresql_engine(url, holder=holder, isolation="READ COMMITTED", connections=_WRITERS)
    return Engines(
        writer=writer,
        reader=postgresql_engine(
            url, holder=holder, isolation="REPEATABLE READ", connections=readers
        ),
        probe=_probe,
        migrating=partial(_migrating, writer),
        release=lambda: None,
        writers=_WRITERS,
        listen=partial(_listen, url, holder),
        free_locks=copying.end_stalled,
    )


def postgresql_engine(url: URL, *, holder: str, isolation: Any, connections: int) -> sa.Engine:
    """Return an engine with its own pool; a connection lost while idle is replaced unseen."""
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level=isolation,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # an error goes into the log; whom it is about must not
        connect_args=_connect_arguments(url, holder),
    )

    @event.listens_for(engine, "connect")
    def _check(connection: Any, record: Any) -> None:  # noqa: ARG001
        with connection.cursor() as cursor:
            problem = _Settings(*cursor.execute(_SETTINGS).fetchone()).problem()
        connection.rollback()
        if problem:
            connection.close()
            raise StoreUnavailableError(f"the PostgreSQL server is refused: {problem}")

    @event.listens_for(engine, "checkin")
    def _note(connection: Any, record: Any) -> None:  # noqa: ARG001
        record.info["last_used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001
        idle = time.monotonic() - record.info.get("last_used", time.monotonic())
        if idle > _IDLE_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise sa.exc.DisconnectionError from error

    event.listen(engine, "do_execute", copying.execute)
    return engine


class _Settings(NamedTuple):
    """What a server says of itself, in the order of ``_SETTINGS``."""

    version: int
    encoding: str
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    standby: bool

    def problem(self) -> str:
        """Return why it would break the promise that acknowledged is durable, if it would."""
        if self.version < _OLDEST:
            return f"it is version {self.version}; {_OLDEST} is the oldest that is supported"
        if self.encoding != "UTF8":
            return f"the database's encoding is {self.encoding}; create it with ENCODING 'UTF8'"
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            if getattr(self, name) == "off":
                return f"{name} is off, so a crash loses what was acknowledged; set it to on"
        if self.standby:
            return "it is a standby, which takes no writes; connect to the primary"
        return ""


@contextmanager
def _migrating(writer: sa.Engine) -> Iterator[sa.Connection]:
    with writer.begin() as connection:
        free = sa.select(sa.func.pg_try_advisory_xact_lock(MIGRATION_LOCK))
        if not connection.execute(free).scalar_one():
            _await_migration(connection)
        yield connection


def _await_migration(connection: sa.Connection) -> None:
    log.info(
        "migration_awaited",
        database=url_of(connection.engine),
        reason="another process migrates it",
        longest_seconds=_LONGEST_MIGRATION_SECONDS,
    )
    # It takes longer than what any other lock is worth waiting for.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LONGEST_MIGRATION_SECONDS}s'")
    try:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    except sa.exc.OperationalError as error:
        if not is_lock_timeout(error):
            raise
        raise StoreUnavailableError(
            f"another process has been migrating it for {_LONGEST_MIGRATION_SECONDS} s;"
            " see what that one does, and start again"
        ) from error
    connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")


@asynccontextmanager
async def _listen(url: URL, holder: str, channel: str) -> AsyncIterator[AsyncIterator[str]]:
    # The one connection that is not for worker threads: it changes nothing, so a
    # cancellation can't cut a commit.
    try:
        dialect: Any = PGDialect_psycopg
        _, address = dialect().create_connect_args(url)
        async with await psycopg.AsyncConnection.connect(
            autocommit=True, **address | _connect_arguments(url, holder)
        ) as connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            # It holds the connection, so it ends before that is closed.
            async with aclosing(connection.notifies()) as notifications:
                yield (notification.payload async for notification in notifications)
    except psycopg.Error as error:
        raise StoreUnavailableError(f"the database announces nothing ({error})") from error


def _connect_arguments(url: URL, holder: str) -> dict[str, Any]:
    """Return ours, and over them what the URL asks for."""
    ours = _CONNECT | {"application_name": f"closeout {holder}"}
    return {name: value for name, value in ours.items() if name not in url.query} | {
        "options": f"{_OPTIONS} {url.query.get('options', '')}"
    }


def _probe(connection: sa.Connection) -> None:
    _PROBE.create(connection)
    connection.execute(sa.insert(_PROBE).values(content="probe"))
