"""What the stream of results shows and keeps, beside what goes over it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns.directory import Directory
from sender_service.reporting.result_stream import ResultStream
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Store:
    """Does not answer."""

    async def read(self, work: Any) -> Any:  # noqa: ARG002 - whatever it is
        """Read nothing."""
        raise StoreUnavailableError("the database does not answer")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def directory(store: Store) -> Directory:
    return Directory(cast("Any", store))


@pytest.fixture
def stream(store: Store, directory: Directory) -> ResultStream:
    """A stream that never reaches the status service."""
    nobody = cast("Any", None)
    return ResultStream(cast("Any", store), nobody, directory, instance="one", replay_days=7)


async def logged_lines(logged: list[MutableMapping[str, Any]], number: int) -> None:
    """Wait until so many lines are logged."""
    deadline = time.monotonic() + 60
    while len(logged) < number:
        assert time.monotonic() < deadline, logged
        await asyncio.sleep(0.01)


async def test_a_failure_of_the_store_is_none_of_the_status_service(
    directory: Directory, stream: ResultStream
) -> None:
    """It is logged as what it is, and the stream is tried again."""
    with capture_logs() as logged:
        running = asyncio.create_task(stream.run())
        await logged_lines(logged, 2)
        running.cancel()
    assert {line["event"] for line in logged} == {"reporting_retrying"}
    assert {line["error"] for line in logged} == {"the database does not answer"}
    assert directory.status_problem is None
