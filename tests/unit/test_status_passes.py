"""The passes that run by themselves go on at their pace, whatever the database does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from service_runtime.errors import StoreUnavailableError
from status_service.campaigns.scans import Scans
from status_service.campaigns.schedules import reconcile, start_scheduled

_PASSES: list[tuple[Callable[[Any], Coroutine[Any, Any, None]], str]] = [
    (lambda service: reconcile(service, Scans(), interval_seconds=3_600.0), "reconcile_postponed"),
    (start_scheduled, "schedule_postponed"),
]


class _Unavailable:
    """A service whose database does not answer."""

    calls = 0

    async def repair(self, *_: Any) -> Any:
        self.calls += 1
        raise StoreUnavailableError("away")

    async def start_due(self) -> None:
        await self.repair()


@pytest.mark.parametrize(("run", "event"), _PASSES, ids=["reconcile", "start-scheduled"])
async def test_s15_a_pass_that_fails_is_logged_and_waits_for_its_turn(
    run: Callable[[Any], Coroutine[Any, Any, None]], event: str
) -> None:
    """It is tried again at the next interval, not at once and without end."""
    service = _Unavailable()
    with capture_logs() as logs:
        task = asyncio.create_task(run(service))
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert service.calls == 1
    assert [line["event"] for line in logs] == [event]
