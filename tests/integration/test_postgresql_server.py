"""The PostgreSQL of the tests: durable, crashes as a real one does, leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from providers.postgresql_server import PATIENCE_SECONDS, PostgresqlServer

_TESTS = Path(__file__).parents[1]
_OwnServer = Callable[..., PostgresqlServer]


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes of a server and its keeper that live."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        if process.info["cwd"] and process.info["status"] != psutil.STATUS_ZOMBIE:
            working = Path(process.info["cwd"])
            if working == folder or folder in working.parents:
                found.append(process)
    return found


def gone(folder: Path) -> bool:
    """Say whether nothing of a server is left."""
    return not folder.exists() and not processes_of(folder)


def test_it_is_as_durable_as_production(postgresql_server: PostgresqlServer) -> None:
    """Nothing is switched off for speed, and the service is no superuser."""
    with psycopg.connect(postgresql_server.url_of("postgres")) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)
        assert connection.execute("SHOW is_superuser").fetchone() == ("off",)


def test_databases_are_apart(postgresql_server: PostgresqlServer) -> None:
    """What is in one database is not in another, nor in one that has its place later."""
    first, second = (postgresql_server.create_database() for _ in range(2))
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE things (thing integer)")
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('things')").fetchone() == (None,)
    postgresql_server.drop_database(second)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(second)
    postgresql_server.drop_database(first)


def test_a_database_in_use_can_be_dropped(postgresql_server: PostgresqlServer) -> None:
    """A connection that a test left open does not keep its database."""
    url = postgresql_server.create_database()
    connection = psycopg.connect(url)
    postgresql_server.drop_database(url)
    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        connection.execute("SELECT 1")
    connection.close()


def test_committed_rows_survive_a_kill(own_postgresql_server: _OwnServer) -> None:
    """A killed server recovers what was committed, on the same port, and nothing else."""
    server = own_postgresql_server()
    url = server.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE things (thing integer)")
        connection.execute("INSERT INTO things SELECT generate_series(1, 10000)")
    open_one = psycopg.connect(url)
    open_one.execute("DELETE FROM things")
    server.kill()
    with pytest.raises(psycopg.OperationalError):
        open_one.execute("SELECT 1")
    open_one.close()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
    server.start()
    assert "automatic recovery in progress" in server.log
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (10_000,)


def test_it_is_frozen_and_goes_on(own_postgresql_server: _OwnServer) -> None:
    """A paused server keeps its connections and answers nothing until it goes on."""
    server = own_postgresql_server()
    url = server.url_of("postgres")
    with psycopg.connect(url) as connection:
        server.pause()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(url, connect_timeout=2)  # the least that libpq takes
        server.resume()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_standby_can_be_promoted(own_postgresql_server: _OwnServer) -> None:
    """A server started as a standby is read-only until it is promoted."""
    server = own_postgresql_server()
    server.stop()
    server.start(standby=True)
    with server.connect("postgres", user="postgres") as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE things (thing integer)")
        connection.execute("SELECT pg_promote()")
        connection.execute("CREATE TABLE things (thing integer)")


def test_a_server_that_can_not_start_says_why() -> None:
    """Settings that PostgreSQL refuses end in its own words, and leave nothing behind."""
    with pytest.raises(AssertionError, match="invalid value for parameter"):
        PostgresqlServer({"wal_level": "maximal"})


@pytest.mark.parametrize("before", ["", "server.kill()", "server.pause()", "server.stop()"])
def test_nothing_is_left_behind(before: str) -> None:
    """The server, its keeper and its folder go, in whatever state it is."""
    with PostgresqlServer() as server:
        folder = server.folder
        assert processes_of(folder)
        eval(before or "None", {"server": server})  # noqa: S307 - one of the four above
    assert gone(folder)


@pytest.mark.parametrize("before", ["", "server.pause()"])
@pytest.mark.usefixtures("postgresql_server")
def test_it_does_not_outlive_a_killed_process(before: str) -> None:
    """When the process that started it is killed, all of it goes by itself."""
    script = f"""
        from providers.postgresql_server import PostgresqlServer
        PostgresqlServer._initialised = {PostgresqlServer._initialised}  # saves an initdb
        server = PostgresqlServer()
        {before}
        print(server.folder, flush=True)
        input()
    """
    with subprocess.Popen(  # noqa: S603 - our own interpreter, our own script
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(_TESTS), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert processes_of(folder)
        process.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not gone(folder):
        assert time.monotonic() < deadline, f"{processes_of(folder)} in {folder}"
        time.sleep(0.01)


def test_a_folder_that_nobody_can_enter_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run by root with a place for temporary files that is root's alone, it finds another."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with PostgresqlServer() as server:
        assert (tmp_path in server.folder.parents) == (os.geteuid() != 0)
        server.create_database()
