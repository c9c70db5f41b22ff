"""The store of both services: durability, transactions, threads and the file lock."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pysqlite3 import dbapi2
from structlog.testing import capture_logs

from providers.written_versions import THINGS, written
from service_runtime.database import Store
from service_runtime.database_time import UtcTime, read_clock
from service_runtime.errors import StartupError, StoreFullError, StoreUnavailableError
from service_runtime.migrations import Migrations

_things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("thing", sa.Integer, primary_key=True),
    sa.Column("at", UtcTime),
)


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Migrations:
    """The versions of a database with one table."""
    return written(tmp_path_factory.mktemp("versions"), THINGS)


@pytest.fixture
async def store(tmp_path: Path, things: Migrations) -> AsyncIterator[Store]:
    """A store in a new file."""
    opened = Store(f"sqlite:///{tmp_path}/x.db", things, holder="test")
    yield opened
    opened.close()


def _add(connection: sa.Connection, thing: int = 1) -> None:
    connection.execute(sa.insert(_things).values(thing=thing))


def _count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(_things)).scalar_one()


async def test_s7_commits_are_synchronous(store: Store) -> None:
    """Every connection runs in WAL with synchronous=FULL: a commit survives a power cut."""

    def pragmas(connection: sa.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert await store.write(pragmas) == ["wal", 2, 1]
    assert await store.read(pragmas) == ["wal", 2, 1]


async def test_work_that_fails_leaves_nothing(store: Store) -> None:
    """An exception rolls the transaction back and reaches the caller; the store still works."""

    def failing(connection: sa.Connection) -> None:
        _add(connection)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await store.write(failing)
    assert await store.read(_count) == 0
    assert store.answering


async def test_a_write_counts_as_running_to_its_end_whatever_that_is(store: Store) -> None:
    """One that failed does not make the service say later that the database hangs."""

    def failing(error: Exception) -> Callable[[sa.Connection], None]:
        def work(_: sa.Connection) -> None:
            assert store.longest_write_seconds > 0
            raise error

        return work

    for error in (KeyError("mine"), StoreUnavailableError("the database's")):
        with pytest.raises(type(error)):
            await store.write(failing(error))
        assert store.longest_write_seconds == 0


async def test_a_cancelled_caller_does_not_reach_into_the_transaction(store: Store) -> None:
    """Running work completes although its caller was cancelled."""
    running, go_on = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        running.set()
        assert go_on.wait(20)
        _add(connection)

    task = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(running.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await store.write(lambda _: None)  # one thread writes, so that one is done
    assert await store.read(_count) == 1


async def test_s4_a_write_holds_the_lock_from_its_beginning(tmp_path: Path, store: Store) -> None:
    """Rows that a write transaction has read stay unchanged until its end."""
    other = dbapi2.connect(
        tmp_path / "x.db", timeout=0, isolation_level=None, check_same_thread=False
    )

    def read_then_write(connection: sa.Connection) -> int:
        before = _count(connection)
        with pytest.raises(dbapi2.OperationalError, match="locked"):
            other.execute("INSERT INTO things (thing) VALUES (2)")
        _add(connection)
        return before

    try:
        assert await store.write(read_then_write) == 0
    finally:
        other.close()
    assert await store.read(_count) == 1


async def test_reads_go_on_beside_a_write(store: Store) -> None:
    """A write in progress blocks no read; the read sees the previous state."""
    written, go_on = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        _add(connection)
        written.set()
        assert go_on.wait(20)

    task = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(written.wait, 20)
    assert await store.read(_count) == 0
    go_on.set()
    await task
    assert await store.read(_count) == 1


async def test_s15_a_database_that_fails_is_unavailable_until_it_takes_something(
    store: Store, tmp_path: Path
) -> None:
    """A failure is logged and raised; a probe restores health, an empty transaction does not."""
    by_hand = dbapi2.connect(tmp_path / "x.db", timeout=20)
    by_hand.execute("ALTER TABLE things RENAME TO away")
    by_hand.commit()
    with capture_logs() as logs, pytest.raises(StoreUnavailableError) as caught:
        await store.write(_add)
    assert caught.value.retry_after_seconds
    assert [line["event"] for line in logs] == ["store_failed"]
    assert not store.answering
    await store.write(lambda _: None)
    assert not store.answering
    by_hand.execute("ALTER TABLE away RENAME TO things")
    by_hand.commit()
    by_hand.close()
    await store.probe()
    assert store.answering
    await store.write(_add)


async def test_s15_a_probe_finds_a_full_database(store: Store) -> None:
    """The probe allocates space, so it fails on a full disk; it leaves no trace."""

    def tables(connection: sa.Connection) -> list[str]:
        return sa.inspect(connection).get_table_names()

    await store.write(_add)

    def filled(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def emptied(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")

    said = "the disk of the test is full: free some space"
    with capture_logs() as logs:
        for _ in range(20):
            await store.write(filled)  # for the connection, which is a new one after a failure
            with pytest.raises(StoreFullError, match=said):
                await store.probe()
    assert [line["event"] for line in logs] == ["store_failed"], "not at each probe"
    assert not store.answering
    assert store.failure == said
    await store.write(emptied)
    await store.probe()
    assert store.answering
    assert not store.failure
    assert await store.read(tables) == ["closeout_test_version", "things"]


def test_a_second_store_on_the_file_is_refused_and_the_first_goes_on(
    tmp_path: Path, things: Migrations
) -> None:
    """The message names the file and its holder; a close releases the file."""
    url = f"sqlite:///{tmp_path}/x.db"
    first = Store(url, things, holder="first service")
    with pytest.raises(StartupError) as caught:
        Store(url, things, holder="second service")
    assert f"{tmp_path}/x.db" in str(caught.value)
    assert f"the first service, process {os.getpid()}" in str(caught.value)
    first.close()
    Store(url, things, holder="third service").close()


def test_a_file_that_is_no_database_is_refused_and_let_go(
    tmp_path: Path, things: Migrations
) -> None:
    """The message names the cause; a store can be created after the file is removed."""
    file = tmp_path / "x.db"
    file.write_bytes(b"nonsense" * 1_000)
    with pytest.raises(StartupError, match="not a database"):
        Store(f"sqlite:///{file}", things, holder="test")
    file.unlink()
    Store(f"sqlite:///{file}", things, holder="test").close()


def test_the_files_are_their_owners_alone(tmp_path: Path, things: Migrations) -> None:
    """Only the owner may read the database, because it has addresses."""
    Store(f"sqlite:///{tmp_path}/new/x.db", things, holder="test").close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "x.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///x.db?cache=shared",
        "sqlite+aiosqlite:///x.db",
        "mysql://u:secret@h/d",
        "postgresql+asyncpg://u:secret@h/d",
        "postgresql://u:secret@h",
        "x.db",
        "",
    ],
)
def test_what_is_no_supported_database_is_refused(
    url: str, tmp_path: Path, things: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is one line without a password, and no file remains."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartupError) as caught:
        Store(url, things, holder="test")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@given(
    moment=st.datetimes(
        min_value=datetime(1, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        timezones=st.sampled_from([UTC]),
    )
)
def test_times_are_kept_to_the_microsecond(moment: datetime) -> None:
    """A stored time is read as the same time in UTC."""
    kind = UtcTime()
    bound = kind.process_bind_param(moment, sa.create_engine("sqlite://").dialect)
    assert isinstance(bound, int)
    assert kind.process_result_value(bound, sa.create_engine("sqlite://").dialect) == moment


async def test_the_clock_is_the_databases_and_goes_forward(store: Store) -> None:
    """The clock of the database is aware, in UTC, and monotonic within a transaction."""

    def clocks(connection: sa.Connection) -> list[datetime]:
        return [read_clock(connection) for _ in range(50)]

    times = await store.read(clocks)
    assert times == sorted(times)
    assert abs(times[0] - datetime.now(UTC)) < timedelta(minutes=1)


async def test_b1_long_reads_hold_up_no_short_one(store: Store) -> None:
    """However many long reads run, the threads of other reads are free."""
    over = threading.Event()

    def long(connection: sa.Connection) -> int:
        assert over.wait(20)
        return _count(connection)

    long_reads = [asyncio.create_task(store.read_long(long)) for _ in range(5)]
    try:
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(store.read(_count) for _ in range(5))) == [0] * 5
        assert not any(read.done() for read in long_reads)
    finally:
        over.set()
    assert await asyncio.gather(*long_reads) == [0] * 5
