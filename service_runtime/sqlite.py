"""SQLite: one file, one process, one connection that writes.

It is driven by the rules that keep an acknowledged commit: WAL with
``synchronous=FULL``, ``BEGIN IMMEDIATE`` for every transaction that writes.
docs/decisions.md says what was measured.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy import event

from service_runtime.database_file import DatabaseFile
from service_runtime.engines import Engines
from service_runtime.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=5000",
    "foreign_keys=ON",
    "journal_size_limit=67108864",
)
#: Exists within the transaction of a probe only.
_PROBE = sa.Table("store_probe", sa.MetaData(), sa.Column("content", sa.LargeBinary))
_PROBE_BYTES = 16_384


def open_sqlite(url: URL, *, holder: str, readers: int) -> Engines:
    """Take the file and return the engines on it.

    Raises:
        StartupError: the URL names no file, or another process has it.
    """
    file = DatabaseFile(check_sqlite_url(url), holder=holder)
    writer = _writer(url)
    return Engines(
        writer=writer,
        reader=sqlite_engine(url, begin="BEGIN DEFERRED", connections=readers),
        probe=_probe,
        migrating=partial(_migrating, writer),
        release=file.release,
    )


def beside_sqlite(url: URL) -> Engines:
    """Return engines on a file that a service has, for single rows that it reads itself.

    SQLite keeps the transactions of both apart; the lock of the file stays the service's.

    Raises:
        StartupError: the URL names no file.
    """
    check_sqlite_url(url)
    writer = _writer(url)
    return Engines(
        writer=writer,
        reader=sqlite_engine(url, begin="BEGIN DEFERRED", connections=1),
        probe=_probe,
        migrating=partial(_migrating, writer),
        release=lambda: None,
        exclusive=False,
    )


def _writer(url: URL) -> sa.Engine:
    return sqlite_engine(url, begin="BEGIN IMMEDIATE", connections=1)


def check_sqlite_url(url: URL) -> str:
    """Return the path of the file that a URL names.

    Raises:
        StartupError: it names none.
    """
    # A database in memory would be another one for each connection.
    in_memory = (url.database or "").startswith((":memory:", "file:"))
    if url.drivername != "sqlite" or not url.database or in_memory or url.query:
        raise StartupError("SQLite is supported as sqlite:///PATH only")
    return url.database


def sqlite_engine(url: URL | str, *, begin: str, connections: int) -> sa.Engine:
    """Return an engine whose transactions open with ``begin``."""
    engine = sa.create_engine(
        url,
        module=dbapi2,
        poolclass=sa.QueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # an error goes into the log; whom it is about must not
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:  # noqa: ARG001
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _migrating(writer: sa.Engine) -> Iterator[sa.Connection]:
    # The file is this process's alone, so nobody else migrates it.
    with writer.connect() as connection:
        driver: Any = connection.connection.driver_connection
        # Most changes of a table are made by a new one in its place, and others may
        # refer to it meanwhile. Within a transaction this would have no effect.
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def is_disk_full(error: Exception) -> bool:
    """Return whether nothing was stored because the disk, or the quota of the file, is full."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return bool(code == dbapi2.SQLITE_FULL)


def _probe(connection: sa.Connection) -> None:
    # A transaction that changes nothing succeeds on a full disk too, so this one
    # takes up pages and gives them back.
    _PROBE.create(connection)
    connection.execute(sa.insert(_PROBE).values(content=bytes(_PROBE_BYTES)))
    _PROBE.drop(connection)
