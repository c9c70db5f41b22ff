"""What the integration tests share: databases, and services in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
from structlog.testing import capture_logs

from integration.databases import Database, PostgresqlDatabase, SqliteDatabase
from integration.status_support import Status, eventually, serving
from providers.postgresql_server import PostgresqlServer

#: What asks for a database runs on each of these.
_KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def _used_databases() -> list[str]:
    """The URLs of databases of the shared server that are empty again."""
    return []


@contextmanager
def _making(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory
) -> Iterator[Callable[[], Database]]:
    if request.param == "sqlite":
        yield lambda: SqliteDatabase(folders.mktemp("database") / "status.db")
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    used: list[str] = request.getfixturevalue("_used_databases")
    taken: list[str] = []

    def take() -> Database:
        taken.append(used.pop() if used else server.create_database())
        return PostgresqlDatabase(taken[-1])

    yield take
    for url in taken:
        server.empty_database(url)
    used.extend(taken)


@pytest.fixture(params=_KINDS)
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Database]]:
    """Make empty databases, all of the kind that is tested."""
    with _making(request, tmp_path_factory) as make:
        yield make


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """An empty database, of each kind."""
    return new_database()


@pytest.fixture(params=_KINDS, scope="module")
def lasting_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database, of each kind, that all tests and examples of a module share."""
    with _making(request, tmp_path_factory) as make:
        yield make()


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    """A status service with a new database; what must hold in it is checked at the end.

    Its pass at the start is over: what a test breaks by hand stays so until it asks.
    """
    async with AsyncExitStack() as stack:
        with capture_logs() as logs:
            service = await stack.enter_async_context(serving(database))

            async def passed() -> bool:
                return any(line["event"] == "reconciled" for line in logs)

            await eventually(passed, what="the pass at the start")
        yield service
        service.check_invariants()
