"""Passes that note samples go on at their pace, whatever the database does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from service_runtime.errors import StoreBusyError, StoreUnavailableError
from status_service.recording import sampler
from status_service.recording.notifier import Notifier
from status_service.recording.sampler import Sampler
from status_service.recording.types import CampaignKey

_PATIENCE_SECONDS = 20.0


class Store:
    """A database that does not answer at first, and where somebody holds a lock then."""

    def __init__(self) -> None:
        self.reads = 0
        self.passed = asyncio.Event()

    async def read(self, _: Any) -> list[CampaignKey]:
        """Return the open campaigns: none, from the third pass on."""
        self.reads += 1
        if self.reads == 1:
            raise StoreUnavailableError("gone")
        if self.reads == 2:
            raise StoreBusyError("locked")
        self.passed.set()
        return []


async def test_s15_a_pass_that_fails_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is open is looked at until that has worked, once."""
    monkeypatch.setattr(sampler, "SAMPLE_INTERVAL", timedelta())
    store = Store()
    with capture_logs() as lines:
        running = asyncio.create_task(Sampler(cast("Any", store), Notifier()).run())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await store.passed.wait()
            for _ in range(20):
                await asyncio.sleep(0)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert store.reads == 3
    assert [line["event"] for line in lines] == ["samples_postponed"] * 2
