"""A caller that does not wait for its answer."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.status_support import PATIENCE_SECONDS
from service_runtime.caller import Caller
from service_runtime.database import Store
from status_service.campaigns.service import CampaignService
from status_service.domain import State
from status_service.migrations import MIGRATIONS
from status_service.recording.notifier import Notifier


async def test_s15_a_refusal_that_nobody_waits_for_is_no_error(tmp_path: Path) -> None:
    """A call that is cancelled while the database works, and then refused, leaves no error."""
    store = Store(f"sqlite:///{tmp_path}/status.db", MIGRATIONS, holder="test")
    service = CampaignService(
        store, Notifier(), stall_threshold=timedelta(minutes=5), largest_total=1_000
    )
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    go_on = threading.Event()
    try:
        busy = asyncio.create_task(store.write(lambda _: go_on.wait(PATIENCE_SECONDS)))
        call = asyncio.create_task(
            service.change_state(Caller("default", "tester"), "missing", State.PAUSED, reason="")
        )
        await asyncio.sleep(0)  # both are with the database now
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        assert await busy
        async with asyncio.timeout(PATIENCE_SECONDS):
            while service._finisher.running:  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.001)
        gc.collect()
        assert not reported
    finally:
        loop.set_exception_handler(None)
        store.close()
