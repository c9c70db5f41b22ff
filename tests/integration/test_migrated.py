"""Databases that tests use one after another are new for each."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from integration.databases import PostgresqlDatabase
from integration.migrated import MigratedDatabases, make_file
from integration.status_support import results, serving
from providers.postgresql_server import PostgresqlServer
from status_service.migrations import MIGRATIONS

_COUNTED = ("campaigns", "results", "transitions", "events", "store")


@pytest.fixture
def databases(postgresql_server: PostgresqlServer) -> MigratedDatabases:
    """A pool of one."""
    return MigratedDatabases(postgresql_server, MIGRATIONS)


async def _use(url: str) -> None:
    """Leave rows of a campaign, which is the first one of its database."""
    async with serving(PostgresqlDatabase(url)) as status:
        await status.start("a", 2)
        await status.report("a", *results([1, 2]))
        assert status.execute("SELECT campaign FROM campaigns") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "",
        "ALTER TABLE results ADD COLUMN more integer",
        "REVOKE INSERT ON results FROM closeout",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "UPDATE closeout_status_version SET version_num = '9999'",
    ],
)
async def test_a_database_comes_back_as_it_was(databases: MigratedDatabases, change: str) -> None:
    """Without a row, with numbers from 1, and with the tables it had, whatever was done to them."""
    url = databases.take()
    await _use(url)
    if change:
        with PostgresqlDatabase(url).by_hand() as connection:
            connection.execute(change)
    databases.give_back(url)
    assert databases.take() == url
    with PostgresqlDatabase(url).by_hand() as connection:
        for table in _COUNTED:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0  # noqa: S608
    await _use(url)
    databases.give_back(url)


def test_a_file_is_made_once(tmp_path: Path) -> None:
    """Only its owner reads it, and one that exists is left alone."""
    path = tmp_path / "status.db"
    make_file(path, MIGRATIONS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"mine")
    make_file(path, MIGRATIONS)
    assert path.read_bytes() == b"mine"
