"""What the integration tests share: databases, and services in the process of the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from closeout.connection import CHANNEL_OPTIONS
from integration.dashboard_support import Browser, Pages, serving_pages
from integration.databases import Database, PostgresqlDatabase, SqliteDatabase
from integration.migrated import MigratedDatabases
from integration.status_support import Status, eventually, serving
from integration.stopped import noted
from providers.leaks import is_looked_at
from sender_service.delivery import delivery_metrics
from service_runtime import postgresql
from status_service.events import backoff
from status_service.live import campaign_gauges
from status_service.recording import ahead

#: What asks for a database runs on each of these.
_KINDS = ("sqlite", "postgresql")


@pytest.fixture(autouse=True)
def services_leave_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test whose services, once stopped, still count listeners, watches or permits."""
    if not is_looked_at(request):
        yield
        return
    with noted() as made:
        yield
    left = made.left()
    assert not left, f"a stopped service still has {', '.join(left)}"


@pytest.fixture(autouse=True)
def copied_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PostgreSQL copy results before it locks their campaign, though tests have few."""
    monkeypatch.setattr(ahead, "LEAST", 1)


@contextmanager
def _making(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory
) -> Iterator[Callable[[], Database]]:
    if request.param == "sqlite":
        yield lambda: SqliteDatabase(folders.mktemp("database") / "status.db")
        return
    databases: MigratedDatabases = request.getfixturevalue("status_databases")
    taken: list[str] = []

    def take() -> Database:
        taken.append(databases.take())
        return PostgresqlDatabase(taken[-1])

    yield take
    for url in taken:
        databases.give_back(url)


@pytest.fixture(params=_KINDS)
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Database]]:
    """Make databases without rows, all of the kind that is tested."""
    with _making(request, tmp_path_factory) as make:
        yield make


@pytest.fixture
def database(new_database: Callable[[], Database]) -> Database:
    """A database without rows, of each kind."""
    return new_database()


@pytest.fixture(params=_KINDS, scope="module")
def lasting_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database, of each kind, that all tests and examples of a module share."""
    with _making(request, tmp_path_factory) as make:
        yield make()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let services that start in the test wait a fraction of a second for a lock of another."""
    options = postgresql._OPTIONS.replace("lock_timeout=2s", "lock_timeout=300ms")
    monkeypatch.setattr(postgresql, "_OPTIONS", options)


@pytest.fixture
def seldom_repeated() -> Iterator[None]:
    """Let clients give an UNAVAILABLE call up within a tenth of a second.

    A caller repeats a call to the sender, which repeats its call to a status service that
    is away: sixteen tries.
    """
    usual = dict(CHANNEL_OPTIONS)
    config = json.loads(usual["grpc.service_config"])
    for each in config["methodConfig"]:
        if "retryPolicy" in each:
            each["retryPolicy"] |= {"maxAttempts": 2, "initialBackoff": "0.01s"}
    hasty = usual | {"grpc.service_config": json.dumps(config)}
    CHANNEL_OPTIONS[:] = hasty.items()
    yield
    CHANNEL_OPTIONS[:] = usual.items()


@pytest.fixture
def newest_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each scrape read what services otherwise keep for three seconds."""
    monkeypatch.setattr(delivery_metrics, "_KEEP_SECONDS", 0.0)
    monkeypatch.setattr(campaign_gauges, "_KEEP_SECONDS", 0.0)


@pytest.fixture
def soon_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an event that was refused be delivered again after a fraction of a second."""
    monkeypatch.setattr(backoff, "_WAITS", (timedelta(seconds=0.3),))


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    """A status service with a new database; what must hold in it is checked at the end.

    Its passes at the start are over: what a test breaks by hand stays so until it asks.
    """
    async with AsyncExitStack() as stack:
        with capture_logs() as logs:
            service = await stack.enter_async_context(serving(database))

            async def passed() -> bool:
                return {"reconciled", "audited"} <= {line["event"] for line in logs}

            await eventually(passed, what="the passes at the start")
        yield service
        service.check_invariants()


@pytest.fixture
async def pages(database: Database) -> AsyncIterator[Pages]:
    """A service with pages, on each kind of database."""
    async with serving_pages(database) as serving:
        yield serving


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[Browser]:
    """A browser of somebody who may read, write and repair."""
    async with pages.browser() as found:
        yield found
