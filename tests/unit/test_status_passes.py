"""The passes that run by themselves go on at their pace, whatever the database does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from service_runtime.errors import StoreBusyError, StoreUnavailableError
from status_service.campaigns import schedules
from status_service.campaigns.scans import Scans
from status_service.campaigns.schedules import audit, reconcile, start_scheduled
from status_service.campaigns.service import CampaignService
from status_service.recording.notifier import Notifier
from status_service.recording.types import CampaignKey

_PATIENCE_SECONDS = 20.0
_PASSES: list[tuple[Callable[[Any], Coroutine[Any, Any, None]], str]] = [
    (
        lambda service: reconcile(service, Scans(), service, interval_seconds=3_600.0),
        "reconcile_postponed",
    ),
    (
        lambda service: audit(service, service.repair, interval_seconds=3_600.0),
        "audit_postponed",
    ),
    (start_scheduled, "schedule_postponed"),
]


class _Unavailable:
    """A service whose database does not answer."""

    calls = 0

    async def repair(self, *_: Any) -> Any:
        self.calls += 1
        raise StoreUnavailableError("away")

    scan = open_campaigns = repair

    async def start_due(self) -> None:
        await self.repair()


@pytest.mark.parametrize(("run", "event"), _PASSES, ids=["reconcile", "audit", "start-scheduled"])
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


class _Audited:
    """Notes what is audited; of three campaigns."""

    def __init__(self, turns: int) -> None:
        self.audited: list[str] = []
        self._turns = turns
        self.refused = asyncio.Event()

    async def open_campaigns(self) -> list[CampaignKey]:
        return [CampaignKey("default", name) for name in "abc"]

    async def audit(self, key: CampaignKey) -> None:
        self.audited.append(key.campaign_id)

    async def take(self) -> bool:
        self._turns -= 1
        if self._turns < 0:
            self.refused.set()
        return self._turns >= 0


async def test_an_audit_ends_where_another_instance_has_the_duty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes one campaign after the other, and asks for the duty before each.

    It rests for as long as an audit took, and these take no time.
    """
    monkeypatch.setattr(schedules, "_AUDIT_INTERVAL", 0)
    service = _Audited(turns=2)
    task = asyncio.create_task(audit(service, service.take, interval_seconds=3_600.0))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await service.refused.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert service.audited == ["a", "b"]


async def test_a_campaign_that_is_locked_holds_no_other_start_up() -> None:
    """It is left to the next pass, and those that are due beside it are tried now."""
    tried = []

    class Store:
        """Three campaigns are due; somebody holds the first."""

        async def read(self, _: Any) -> list[int]:
            return [1, 2, 3]

        async def write(self, work: Any) -> None:
            tried.append(work.keywords["number"])
            if tried == [1]:
                raise StoreBusyError("locked")

    store: Any = Store()
    service = CampaignService(
        store, Notifier(), stall_threshold=timedelta(minutes=5), largest_total=1_000
    )
    with capture_logs() as logs:
        await service.start_due()
    assert tried == [1, 2, 3]
    assert [line["event"] for line in logs] == ["schedule_postponed"]
