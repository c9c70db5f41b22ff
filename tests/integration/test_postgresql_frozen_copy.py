"""An instance that stands still in the middle of a COPY: the server waits for it for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from providers.postgresql_server import PostgresqlServer
from service_runtime import copying
from service_runtime.database import Store
from service_runtime.errors import StoreBusyError
from status_service.migrations import MIGRATIONS

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
async def store(postgresql_server: PostgresqlServer) -> AsyncIterator[Store]:
    """A store, with a table for rows that instances copy."""
    url = postgresql_server.create_database()
    store = Store(url, MIGRATIONS, holder="test")
    try:
        await store.write(lambda each: each.execute(sa.text("CREATE TABLE rows (number int)")))
        yield store
    finally:
        store.close()
        postgresql_server.drop_database(url)


@contextmanager
def _frozen(store: Store, name: str) -> Iterator[psycopg.Connection]:
    """Be an instance that has sent a part of its rows, and holds a lock."""
    with psycopg.connect(store.url, application_name=name) as connection:
        connection.execute("LOCK TABLE rows")
        with connection.cursor().copy("COPY rows FROM STDIN") as copy:
            copy.write("1\n")
            yield connection


def _lock(connection: sa.Connection) -> None:
    connection.execute(sa.text("LOCK TABLE rows"))


async def test_what_stands_still_is_ended_by_who_waits_for_its_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute, as a transaction that is idle: the next one has the lock."""
    monkeypatch.setattr(copying, "STALLED_SECONDS", 0)

    async def lock_twice() -> None:
        with _frozen(store, "closeout test") as frozen:
            with capture_logs() as logs, pytest.raises(StoreBusyError):
                await store.write(_lock)
            await store.write(_lock)
            ended = [(each["event"], each["backend"]) for each in logs]
            assert ended == [("stalled_copy_ended", frozen.info.backend_pid)]

    with pytest.raises(psycopg.OperationalError):  # the instance learns it, once it goes on
        await lock_twice()


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("closeout test", copying.STALLED_SECONDS, id="not for long"),
        pytest.param("pg_restore", 0, id="not ours"),
    ],
)
async def test_nothing_else_is_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, seconds: int
) -> None:
    """A COPY of less than a minute goes on, and so does one of another program."""
    monkeypatch.setattr(copying, "STALLED_SECONDS", seconds)
    with _frozen(store, name):
        for _ in range(2):
            with pytest.raises(StoreBusyError):
                await store.write(_lock)
    await store.write(_lock)
