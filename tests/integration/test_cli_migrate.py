"""``closeout migrate``, and the same for one service alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from integration.cli_support import clean_environment, finished
from integration.status_support import serving
from providers.postgresql_server import PostgresqlServer
from providers.written_versions import make_first_version
from status_service.migrations import MIGRATIONS

NEWEST = str(ScriptDirectory(MIGRATIONS.folder).get_current_head())
NOTHING = f"version {NEWEST}, nothing to migrate"
MISSING = "does not exist yet; the service will create it"


@pytest.fixture
def database(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """The URL of an empty database on PostgreSQL, with a password that nobody asks for."""
    url = postgresql_server.create_database()
    yield url.replace("closeout@", "closeout:a-secret@")
    postgresql_server.drop_database(url)


def made_before_versions(folder: Path) -> str:
    """Make the database of a status service as it was before versions; return its URL."""
    url = f"sqlite:///{folder / 'status.db'}"
    make_first_version(url, MIGRATIONS)
    return url


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def alone(module: str, *words: str, folder: Path, **settings: str) -> tuple[int, str, str]:
    """Run ``python -m MODULE``; return its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *words),
        cwd=folder,
        env=clean_environment() | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_both_databases_are_checked_and_migrated(tmp_path: Path, database: str) -> None:
    """A line for each, without a password; a check says 1 until there is nothing to do."""
    sender = f"sqlite:///{tmp_path}/sender.db"
    environment = clean_environment() | {
        "CLOSEOUT_STATUS_DATABASE_URL": database,
        "CLOSEOUT_SENDER_DATABASE_URL": sender,
    }
    shown = f"status service: {database.replace('a-secret', '***')}: "
    other = f"sender service: {sender}: "
    expected = [
        (["--check"], 1, f"to migrate: empty -> {NEWEST}"),
        (["--check"], 1, f"to migrate: empty -> {NEWEST}"),
        ([], 0, f"migrated: empty -> {NEWEST}"),
        (["--check"], 0, NOTHING),
        ([], 0, NOTHING),
    ]
    for words, code, said in expected:
        found = await finished("migrate", *words, folder=tmp_path, environment=environment)
        assert found[:2] == (code, f"{shown}{said}\n{other}{MISSING}\n")
        assert "a-secret" not in found[2]
    assert files_in(tmp_path) == []


async def test_the_folder_of_up_is_found(tmp_path: Path) -> None:
    """--data-dir names the databases of ``closeout up``."""
    (tmp_path / "data").mkdir()
    url = made_before_versions(tmp_path / "data")
    words = ("migrate", "--data-dir", "data")
    found = await finished(*words, folder=tmp_path, environment=clean_environment())
    assert found[0] == 0, found
    assert found[1].splitlines()[0] == f"status service: {url}: migrated: unversioned -> {NEWEST}"
    assert f"sqlite:///{tmp_path}/data/sender.db: {MISSING}" in found[1]


async def test_a_file_in_use_is_named_and_the_other_migrated(tmp_path: Path) -> None:
    """Who has the file is said in one line; the exit code says that not all is well."""
    async with serving(tmp_path):
        environment = clean_environment() | {
            "CLOSEOUT_STATUS_DATABASE_URL": f"sqlite:///{tmp_path}/status.db"
        }
        code, out, err = await finished("migrate", folder=tmp_path, environment=environment)
    assert code == 1
    assert "status.db is in use by the status service, process" in err
    assert err.count("\n") == 1
    assert out.startswith("sender service: ")


async def test_a_wrong_setting_is_named_once(tmp_path: Path) -> None:
    """It is found before anything is migrated, and said once though both services look."""
    environment = clean_environment() | {
        "CLOSEOUT_STATUS_DATABASE_URL": made_before_versions(tmp_path),
        "CLOSEOUT_SENDER_DATABASE_URL": f"sqlite:///{tmp_path}/sender.db",
        "CLOSEOUT_LOG_LEVEL": "loud",
    }
    code, out, err = await finished("migrate", folder=tmp_path, environment=environment)
    assert (code, out) == (2, "")
    assert err.startswith("closeout: nothing was migrated: ")
    assert "CLOSEOUT_LOG_LEVEL" in err
    assert err.count("\n") == 1


async def test_one_service_alone(tmp_path: Path) -> None:
    """Each service migrates its own database and ends, without the command."""
    url = made_before_versions(tmp_path)
    settings = {"CLOSEOUT_STATUS_DATABASE_URL": url}
    words = ("status_service", "migrate")
    assert (await alone(*words, "--check", folder=tmp_path, **settings))[:2] == (
        1,
        f"status service: {url}: to migrate: unversioned -> {NEWEST}\n",
    )
    code, out, err = await alone(*words, folder=tmp_path, **settings)
    assert (code, out) == (0, f"status service: {url}: migrated: unversioned -> {NEWEST}\n")
    assert '"database_migrated"' in err
    assert err.count("\n") == 1
    settings = {"CLOSEOUT_SENDER_DATABASE_URL": "postgresql://someone@localhost/x"}
    code, _, err = await alone("sender_service", "migrate", folder=tmp_path, **settings)
    assert code == 2
    assert "the sender runs on sqlite:///PATH only" in err


async def test_a_wrong_word_is_no_service(tmp_path: Path) -> None:
    """A typo starts nothing."""
    code, out, err = await alone("status_service", "migrat", folder=tmp_path)
    assert (code, out) == (2, "")
    assert "{migrate,keys}: invalid choice; --help lists them" in err
    assert files_in(tmp_path) == []
