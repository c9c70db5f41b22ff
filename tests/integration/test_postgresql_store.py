"""What PostgreSQL the service takes: one that keeps what it commits, and says why not another."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from integration.databases import PostgresqlDatabase
from integration.status_support import check_invariants, results, serving
from providers.postgresql_server import PATIENCE_SECONDS, PostgresqlServer
from service_runtime.database import Store
from service_runtime.errors import StartupError, StoreFullError, StoreUnavailableError
from status_service.migrations import MIGRATIONS

_OwnServer = Callable[..., PostgresqlServer]
_OWN_PID = sa.select(sa.func.pg_backend_pid())
_LOSES = "so a crash loses what was acknowledged"
_UNSAFE = [
    ("SYSTEM", "fsync", f"fsync is off, {_LOSES}"),
    ("SYSTEM", "full_page_writes", f"full_page_writes is off, {_LOSES}"),
    ("SYSTEM", "synchronous_commit", f"synchronous_commit is off, {_LOSES}"),
    ("DATABASE guarded", "synchronous_commit", f"synchronous_commit is off, {_LOSES}"),
    ("ROLE guarded", "synchronous_commit", f"synchronous_commit is off, {_LOSES}"),
    (
        "ROLE guarded IN DATABASE guarded",
        "synchronous_commit",
        f"synchronous_commit is off, {_LOSES}",
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """A server whose settings change, with a role that has a password, and its database."""
    with PostgresqlServer(access=["host all guarded 127.0.0.1/32 scram-sha-256"]) as server:
        with server.connect("postgres", user="postgres") as connection:
            connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
            connection.execute("CREATE DATABASE guarded OWNER guarded")
        yield server


def url_of(server: PostgresqlServer, password: str = "right") -> str:  # noqa: S107 - of the test's server
    """Return the URL of the guarded database."""
    return server.url_of("guarded", user=f"guarded:{password}")


def refusal(url: str) -> str:
    """Return why a database is refused: in one line, without the password."""
    with pytest.raises(StartupError) as caught:
        Store(url, MIGRATIONS, holder="test")
    message = str(caught.value)
    assert "\n" not in message
    assert "right" not in message
    assert "wrong" not in message
    return message


def accept(url: str) -> None:
    """Check that a database can be used."""
    Store(url, MIGRATIONS, holder="test").close()


def alter(server: PostgresqlServer, whose: str, change: str) -> None:
    """Change a setting, and wait until new connections have it."""
    with server.connect("guarded", user="postgres") as connection:
        loaded = connection.execute("SELECT pg_conf_load_time()").fetchone()
        connection.execute(f"ALTER {whose} {change}")
        connection.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with server.connect("guarded", user="postgres") as connection:
            if connection.execute("SELECT pg_conf_load_time()").fetchone() != loaded:
                return
        assert time.monotonic() < deadline, "the settings are not loaded"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("whose", "setting", "why"), _UNSAFE, ids=[f"{w}-{s}" for w, s, _ in _UNSAFE]
)
def test_s7_a_server_that_forgets_commits_is_refused(
    server: PostgresqlServer, whose: str, setting: str, why: str
) -> None:
    """The error names the setting that switches durability off, for everybody or for one role."""
    alter(server, whose, f"SET {setting} = off")
    assert why in refusal(url_of(server))
    alter(server, whose, f"RESET {setting}")
    accept(url_of(server))


def test_s7_what_the_url_asks_for_counts_and_is_refused_alike(server: PostgresqlServer) -> None:
    """Options of the URL reach the server beside our own."""
    assert "synchronous_commit is off" in refusal(
        f"{url_of(server)}?options=-csynchronous_commit%3Doff"
    )
    accept(f"{url_of(server)}?options=-cwork_mem%3D1MB&connect_timeout=3")


@pytest.mark.parametrize("level", ["on", "local", "remote_write", "remote_apply"])
def test_a_commit_that_waits_for_the_disk_is_enough(server: PostgresqlServer, level: str) -> None:
    """Every level of synchronous_commit but off keeps what was acknowledged."""
    alter(server, "ROLE guarded", f"SET synchronous_commit = {level}")
    accept(url_of(server))
    alter(server, "ROLE guarded", "RESET synchronous_commit")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_can_not_hold_every_text_is_refused(
    postgresql_server: PostgresqlServer, encoding: str
) -> None:
    """Names and details are Unicode, so the encoding is UTF8."""
    url = postgresql_server.create_database(encoding=encoding)
    assert f"the database's encoding is {encoding}" in refusal(url)
    postgresql_server.drop_database(url)


def test_a_standby_is_refused_until_it_is_promoted(own_postgresql_server: _OwnServer) -> None:
    """A server that takes no writes is no place to start; as a primary it is."""
    server = own_postgresql_server()
    url = server.create_database()
    server.stop()
    server.start(standby=True)
    assert "it is a standby" in refusal(url)
    with server.connect("postgres", user="postgres") as connection:
        connection.execute("SELECT pg_promote()")
    accept(url)


def test_a_server_that_is_not_there_is_named_in_one_line() -> None:
    """Nobody listens: the address, and that it was refused."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        message = refusal(f"postgresql://closeout:wrong@127.0.0.1:{port}/closeout")
    assert f"closeout:***@127.0.0.1:{port}/closeout" in message
    assert "refused" in message


def test_a_database_that_is_not_there_is_named(server: PostgresqlServer) -> None:
    """The server answers, and has no such database."""
    assert 'database "absent" does not exist' in refusal(server.url_of("absent"))


def test_a_wrong_password_is_named_and_not_shown(server: PostgresqlServer) -> None:
    """The user is named, the password is not; with the right one it can be used."""
    assert 'password authentication failed for user "guarded"' in refusal(url_of(server, "wrong"))
    assert "no password supplied" in refusal(server.url_of("guarded", user="guarded"))
    store = Store(url_of(server), MIGRATIONS, holder="test")
    store.close()
    assert "right" not in store.url


def test_a_role_that_may_not_create_tables_is_named(server: PostgresqlServer) -> None:
    """A database of somebody else is refused with the words of the server."""
    assert "permission denied for schema public" in refusal(
        url_of(server).rpartition("/")[0] + "/postgres"
    )


async def test_the_first_server_of_several_that_answers_is_used(
    postgresql_server: PostgresqlServer,
) -> None:
    """A URL may name several, for transactions and for the connection that listens."""
    given = sa.make_url(postgresql_server.create_database())
    servers = f"host=127.0.0.1:1&host={given.host}:{given.port}&target_session_attrs=read-write"
    url = f"postgresql://{given.username}@/{given.database}?{servers}"
    store = Store(url, MIGRATIONS, holder="test")
    try:
        await store.probe()
        assert store.listen is not None
        async with asyncio.timeout(PATIENCE_SECONDS), store.listen("news") as notifications:
            await store.write(lambda connection: connection.execute(sa.func.pg_notify("news", "x")))
            assert await anext(notifications) == "x"
    finally:
        store.close()


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg", "pg8000"])
def test_a_driver_that_is_not_ours_is_refused(driver: str) -> None:
    """In one line, before anything is connected."""
    assert "postgresql://USER@HOST/DATABASE" in refusal(
        f"postgresql+{driver}://closeout:wrong@127.0.0.1:1/closeout"
    )


async def test_the_service_takes_an_address_with_a_password(server: PostgresqlServer) -> None:
    """It serves from a guarded database."""
    database = PostgresqlDatabase(url_of(server))
    async with serving(database) as status:
        await status.start("a", 3)
        await status.report("a", *results([1, 2, 3]))
    with database.by_hand() as connection:
        check_invariants(connection)


async def test_a_connection_that_fails_takes_no_other_with_it(server: PostgresqlServer) -> None:
    """What another transaction has open stays open, and is closed when it is over."""
    store = Store(url_of(server), MIGRATIONS, holder="test")
    began, go_on = threading.Event(), threading.Event()

    def other(connection: sa.Connection) -> list[int]:
        pids = [connection.execute(_OWN_PID).scalar_one()]
        began.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return [*pids, connection.execute(_OWN_PID).scalar_one()]

    def ended(connection: sa.Connection) -> None:
        connection.execute(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))

    try:
        going = asyncio.create_task(store.write(other))
        assert await asyncio.to_thread(began.wait, PATIENCE_SECONDS)
        with pytest.raises(StoreUnavailableError):
            await store.write(ended)
        go_on.set()
        first, second = await going
        assert first == second
        later = {await store.write(lambda one: one.execute(_OWN_PID).scalar_one()) for _ in "ab"}
        assert first not in later
    finally:
        go_on.set()
        store.close()
    gc.collect()  # a connection that nobody closed would say so now


async def test_a_connection_lost_while_idle_is_replaced_unseen(
    server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write after a pause does not fail for what happened in it."""
    monkeypatch.setattr("service_runtime.postgresql._IDLE_SECONDS", 0.0)
    store = Store(url_of(server), MIGRATIONS, holder="test")
    try:
        before = await store.write(lambda one: one.execute(_OWN_PID).scalar_one())
        with server.connect("guarded", user="postgres") as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 20000)", [before])
        assert await store.write(lambda one: one.execute(_OWN_PID).scalar_one()) != before
        assert store.answering
    finally:
        store.close()


async def test_a_frozen_instance_holds_nobody_up_for_long(
    postgresql_server: PostgresqlServer,
) -> None:
    """The server ends its transaction in a minute, and a statement takes neither lock nor cores."""
    url = postgresql_server.create_database()
    store = Store(url, MIGRATIONS, holder="test")

    def limits(connection: sa.Connection) -> dict[str, int]:
        names = (
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "max_parallel_workers_per_gather",
        )
        found = connection.execute(
            sa.text("SELECT name, setting::int FROM pg_settings WHERE name IN :names").bindparams(
                sa.bindparam("names", names, expanding=True)
            )
        )
        return {name: value for name, value in found}  # noqa: C416 - rows

    try:
        for found in (await store.write(limits), await store.read(limits)):
            assert 0 < found["lock_timeout"] <= 5_000
            assert 0 < found["idle_in_transaction_session_timeout"] <= 60_000
            assert found["max_parallel_workers_per_gather"] == 0
    finally:
        store.close()
        postgresql_server.drop_database(url)


async def test_a_server_without_room_is_said_to_have_none(
    postgresql_server: PostgresqlServer,
) -> None:
    """The error says that the disk is full and what to do, not that the server is away."""
    url = postgresql_server.create_database()
    store = Store(url, MIGRATIONS, holder="test")

    def full(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
        )

    try:
        with pytest.raises(StoreFullError, match="disk of the database server is full: free some"):
            await store.write(full)
        assert not store.answering
        await store.probe()
        assert store.answering
    finally:
        store.close()
        postgresql_server.drop_database(url)
