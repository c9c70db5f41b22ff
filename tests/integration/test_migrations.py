"""Databases brought to the version of the code: all of it or nothing, by one process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from acceptance.processes import wait_until
from providers.postgresql_server import PostgresqlServer
from providers.written_versions import THINGS, written
from service_runtime import postgresql
from service_runtime.database import Store
from service_runtime.database_url import open_engines
from service_runtime.errors import StartupError
from service_runtime.migrations import EMPTY, UNVERSIONED, Migrations, Step

#: The second version: another column with data, and another table.
COLOURS = """
    with op.batch_alter_table("things") as things:
        things.add_column(sa.Column("colour", sa.Text, nullable=False, server_default="red"))
    op.create_table("more", sa.Column("one", sa.Integer, primary_key=True))
"""
#: The second version, but for an error at its end, or a death.
FAILING = COLOURS + '    op.drop_table("nowhere")\n'
DEFECTIVE = COLOURS + '    raise KeyError("a defect")\n'
DYING = COLOURS + "    os._exit(9)\n"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/x.db"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def first(tmp_path: Path) -> Migrations:
    """A code that has the first version."""
    return written(tmp_path / "first", THINGS)


def migrate(url: str, migrations: Migrations) -> Step:
    engines = open_engines(url, holder="test")
    try:
        return migrations.migrate(engines)
    finally:
        engines.close()


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements in a database by hand; return the rows of the last one."""
    engines = open_engines(url, holder="test")
    try:
        with engines.writer.begin() as connection:
            *others, last = statements
            for statement in others:
                connection.exec_driver_sql(statement)
            result = connection.exec_driver_sql(last)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engines.close()


def tables(url: str) -> set[str]:
    engines = open_engines(url, holder="test")
    try:
        with engines.reader.begin() as connection:
            return set(sa.inspect(connection).get_table_names())
    finally:
        engines.close()


def test_an_empty_database_is_made_at_the_newest_version(url: str, tmp_path: Path) -> None:
    """All versions are gone through, one line says so, and then there is nothing to do."""
    second = written(tmp_path, THINGS, COLOURS)
    with capture_logs() as logs:
        assert migrate(url, second) == Step(EMPTY, "0002")
        assert migrate(url, second) == Step("0002", "0002")
    (line,) = logs
    assert line["event"] == "database_migrated"
    assert (line["version_before"], line["version"]) == (EMPTY, "0002")
    assert execute(url, "INSERT INTO things (thing) VALUES (1)", "SELECT * FROM things") == [
        (1, None, "red")
    ]
    assert tables(url) == {"closeout_test_version", "things", "more"}


def test_an_older_database_is_migrated_with_its_data(
    url: str, first: Migrations, tmp_path: Path
) -> None:
    """A service of the next version takes what the one before it has left."""
    migrate(url, first)
    execute(url, "INSERT INTO things VALUES (1, 2)")
    with capture_logs() as logs:
        assert migrate(url, written(tmp_path, THINGS, COLOURS)) == Step("0001", "0002")
    assert [(line["version_before"], line["version"]) for line in logs] == [("0001", "0002")]
    assert execute(url, "SELECT * FROM things") == [(1, 2, "red")]


@pytest.mark.parametrize(("body", "error"), [(FAILING, StartupError), (DEFECTIVE, KeyError)])
def test_a_version_that_fails_leaves_the_one_before(
    url: str, first: Migrations, tmp_path: Path, body: str, error: type[Exception]
) -> None:
    """Nothing of it stays, the database is let go, and the older code goes on with it."""
    migrate(url, first)
    execute(url, "INSERT INTO things VALUES (1, 2)")
    with pytest.raises(error) as caught:
        Store(url, written(tmp_path, THINGS, body), holder="test")
    assert "\n" not in str(caught.value)
    assert tables(url) == {"closeout_test_version", "things"}
    assert execute(url, "SELECT * FROM things") == [(1, 2)]
    assert migrate(url, first) == Step("0001", "0001")


def test_a_crash_in_the_middle_leaves_the_version_before(
    url: str, first: Migrations, tmp_path: Path
) -> None:
    """A process that dies while it migrates leaves nothing that the next one minds."""
    migrate(url, first)
    execute(url, "INSERT INTO things VALUES (1, 2)")
    written(tmp_path / "dying", THINGS, DYING)
    script = (
        "from pathlib import Path; from service_runtime.database import Store;"
        "from service_runtime.migrations import Migrations;"
        f"Store({url!r}, Migrations(Path({str(tmp_path / 'dying' / 'up_to_2')!r}),"
        " table='closeout_test_version'), holder='test')"
    )
    process = subprocess.run([sys.executable, "-c", script], check=False)  # noqa: S603 - our own
    assert process.returncode == 9
    assert tables(url) == {"closeout_test_version", "things"}
    assert migrate(url, written(tmp_path, THINGS, COLOURS)) == Step("0001", "0002")
    assert execute(url, "SELECT * FROM things") == [(1, 2, "red")]


def test_a_newer_database_is_refused(url: str, first: Migrations, tmp_path: Path) -> None:
    """One line names both versions and what to do; the database stays as it is."""
    second = written(tmp_path, THINGS, COLOURS)
    migrate(url, second)
    with pytest.raises(StartupError) as caught:
        Store(url, first, holder="test")
    assert "is at version 0002, and this Closeout knows versions up to 0001" in str(caught.value)
    assert "upgrade Closeout" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert migrate(url, second) == Step("0002", "0002")


def test_a_database_from_before_versions_is_taken_over(url: str, tmp_path: Path) -> None:
    """Tables as those of the first version are it, and what comes after is done."""
    metadata = sa.MetaData()
    columns = (sa.Column("thing", sa.Integer, primary_key=True), sa.Column("at", sa.BigInteger))
    sa.Table("things", metadata, *columns)
    engines = open_engines(url, holder="test")
    metadata.create_all(engines.writer)
    engines.close()
    execute(url, "INSERT INTO things VALUES (1, 2)")
    assert migrate(url, written(tmp_path, THINGS, COLOURS)) == Step(UNVERSIONED, "0002")
    assert execute(url, "SELECT * FROM things") == [(1, 2, "red")]


@pytest.mark.parametrize(
    "other",
    [
        "CREATE TABLE orders (id integer)",
        "CREATE TABLE things (thing integer)",
        "CREATE TABLE closeout_sender_version (version_num text)",
    ],
)
def test_the_database_of_something_else_is_refused(url: str, first: Migrations, other: str) -> None:
    """One line names its tables, and nothing is put beside them."""
    execute(url, other)
    before = tables(url)
    with pytest.raises(StartupError) as caught:
        Store(url, first, holder="test")
    assert f"has tables of something else ({', '.join(before)})" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tables(url) == before


def test_a_look_changes_nothing(url: str, first: Migrations) -> None:
    """What there is to do can be asked before it is done."""
    engines = open_engines(url, holder="test")
    try:
        assert first.look(engines) == Step(EMPTY, "0001")
        assert first.look(engines).is_needed
    finally:
        engines.close()
    assert tables(url) == set()


def test_tables_made_anew_keep_those_that_refer_to_them(tmp_path: Path) -> None:
    """On SQLite a table can be replaced though others refer to it; after that they are held to it.

    Its rows would go, or the change would fail, if references were checked meanwhile.
    """
    url = f"sqlite:///{tmp_path}/x.db"
    of_thing = 'sa.Column("thing", sa.Integer, sa.ForeignKey("things.thing"))'
    parts = f'{THINGS}    op.create_table("parts", {of_thing})\n'
    widen = """
    with op.batch_alter_table("things") as things:
        things.alter_column("at", new_column_name="since")
        things.create_check_constraint("since_positive", "since > 0")
    """
    migrate(url, written(tmp_path / "first", parts))
    execute(url, "INSERT INTO things VALUES (1, 2)", "INSERT INTO parts VALUES (1)")
    engines = open_engines(url, holder="test")
    try:
        written(tmp_path, parts, widen).migrate(engines)
        with engines.writer.begin() as connection:
            found = connection.exec_driver_sql("SELECT * FROM parts JOIN things USING (thing)")
            assert [tuple(row) for row in found] == [(1, 2)]
            with pytest.raises(sa.exc.IntegrityError):
                connection.exec_driver_sql("INSERT INTO parts VALUES (7)")
    finally:
        engines.close()


class _Opening(threading.Thread):
    """Opens a store in a thread of its own."""

    def __init__(self, url: str, migrations: Migrations) -> None:
        super().__init__()
        self._arguments = (url, migrations)
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            Store(*self._arguments, holder="test").close()
        except StartupError as error:
            self.error = error


@pytest.fixture
def waiting(postgresql_server: PostgresqlServer) -> Callable[[str], int]:
    """Tell how many connections to a database wait for whoever migrates it."""

    def count(url: str) -> int:
        with postgresql_server.connect(url.rpartition("/")[2]) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event = 'advisory'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    return count


def test_of_stores_that_open_at_once_one_migrates(
    postgresql_server: PostgresqlServer,
    waiting: Callable[[str], int],
    first: Migrations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others wait, longer than for any other lock, say so, and find it done."""
    monkeypatch.setattr(postgresql, "_OPTIONS", "-c lock_timeout=100ms")
    url = postgresql_server.create_database()
    stores = [_Opening(url, first) for _ in range(3)]
    with (
        capture_logs() as logs,
        postgresql_server.connect(url.rpartition("/")[2]) as by_hand,
    ):
        by_hand.execute(f"SELECT pg_advisory_lock({postgresql.MIGRATION_LOCK})")
        for store in stores:
            store.start()
        wait_until(lambda: waiting(url) == 3, what="three wait")
        (since,) = by_hand.execute("SELECT clock_timestamp()").fetchone() or ()
        late = f"SELECT clock_timestamp() > '{since}'::timestamptz + interval '300 ms'"
        wait_until(lambda: (by_hand.execute(late).fetchone() or [False])[0], what="they give up")
        assert waiting(url) == 3
        by_hand.execute(f"SELECT pg_advisory_unlock({postgresql.MIGRATION_LOCK})")
        for store in stores:
            store.join()
    assert [store.error for store in stores] == [None] * 3
    events = [line["event"] for line in logs]
    assert sorted(events) == ["database_migrated", *["migration_awaited"] * 3]
    assert tables(url) == {"closeout_test_version", "things"}
    postgresql_server.drop_database(url)


def test_who_waits_too_long_for_a_migration_says_so(
    postgresql_server: PostgresqlServer, first: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that hangs elsewhere is an error of one line, and can be tried again."""
    monkeypatch.setattr(postgresql, "_LONGEST_MIGRATION_SECONDS", 1)
    url = postgresql_server.create_database()
    with postgresql_server.connect(url.rpartition("/")[2]) as by_hand:
        by_hand.execute(f"SELECT pg_advisory_lock({postgresql.MIGRATION_LOCK})")
        with pytest.raises(StartupError, match="another process has been migrating it for 1 s"):
            Store(url, first, holder="test")
    assert migrate(url, first) == Step(EMPTY, "0001")
    postgresql_server.drop_database(url)


def test_a_database_that_is_current_needs_no_lock(
    postgresql_server: PostgresqlServer, first: Migrations
) -> None:
    """Where there is nothing to do, nobody waits, and no right to make tables is needed."""
    url = postgresql_server.create_database()
    migrate(url, first)
    with postgresql_server.connect(url.rpartition("/")[2], user="postgres") as by_hand:
        by_hand.execute(f"SELECT pg_advisory_lock({postgresql.MIGRATION_LOCK})")
        by_hand.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        assert migrate(url, first) == Step("0001", "0001")
    postgresql_server.drop_database(url)


def test_a_lock_that_others_hold_ends_a_migration(
    postgresql_server: PostgresqlServer,
    first: Migrations,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table in use is waited for briefly, so that those who use it are not held up behind it."""
    monkeypatch.setattr(postgresql, "_OPTIONS", "-c lock_timeout=100ms")
    url = postgresql_server.create_database()
    migrate(url, first)
    second = written(tmp_path, THINGS, COLOURS)
    with postgresql_server.connect(url.rpartition("/")[2]) as by_hand, by_hand.transaction():
        by_hand.execute("SELECT * FROM things")
        with pytest.raises(StartupError, match="lock timeout"):
            migrate(url, second)
    assert migrate(url, second) == Step("0001", "0002")
    postgresql_server.drop_database(url)
