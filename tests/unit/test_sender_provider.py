"""A provider that takes nothing is probed, and what came of it outlives a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import Directory
from sender_service.delivery import provider as provider_module
from sender_service.delivery.circuit_breaker import Breaker
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Gate
from sender_service.delivery.provider import Provider
from sender_service.verdicts import Answer, Reply
from service_runtime.errors import StoreUnavailableError

_HOUR_SECONDS, _DAY_SECONDS = 3_600.0, 86_400.0


class _Store:
    """Counts what is written."""

    def __init__(self, *, fails: bool = False) -> None:
        self.writes = 0
        self._fails = fails

    async def write(self, _: Any) -> None:
        """Count a write, or fail."""
        self.writes += 1
        if self._fails:
            raise StoreUnavailableError("gone")


async def _settled() -> None:
    """Let all others run until they wait."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def _probed(
    store: _Store, check: Callable[[Any], Awaitable[Reply]], *, shown: _Store | None = None
) -> AsyncIterator[Any]:
    """Probe a provider for one campaign during the block; ``shown`` has what that shows."""
    ours, others = cast("Any", store), cast("Any", shown or _Store())
    row: Any = SimpleNamespace(
        campaign=1, campaign_id="c1", organisation="default", unreachable_time=None
    )
    channel: Any = SimpleNamespace(
        name="smtp", provider="smtp.example.com:587", timeout_seconds=1_000.0, check=check
    )
    provider = Provider(ours, Directory(others), channel, Clock())
    provider.attend(
        Gate(provider.shared, ActiveCampaign(row), remaining=10, deadline_seconds=_DAY_SECONDS)
    )
    provider.start()
    try:
        await _settled()
        yield provider.shared
    finally:
        await provider.close()


async def test_a_failed_probe_is_stored_once() -> None:
    """However often somebody looks before the next one, which is stored again."""
    store = _Store()

    async def check(_: Any) -> Reply:
        return Reply(Answer.PROVIDER_FAULT, code="421", retry_after_seconds=_HOUR_SECONDS)

    async with _probed(store, check) as shared:
        assert shared.breaker.state is Breaker.OPEN
        assert store.writes == 1
        for _ in range(3):
            shared.changed()
            await _settled()
        assert store.writes == 1
        shared.open(shared.breaker.fault, "again", retry_after_seconds=_HOUR_SECONDS)
        shared.changed()
        await _settled()
        assert store.writes == 2


async def test_a_long_outage_is_stored_again_every_five_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So little of it is lost with the process; also on a machine that has just been started."""
    now = [1.0]
    monkeypatch.setattr(provider_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store = _Store()

    async def check(_: Any) -> Reply:
        return Reply(Answer.PROVIDER_FAULT, code="421", retry_after_seconds=_HOUR_SECONDS)

    async with _probed(store, check) as shared:
        assert store.writes == 1
        for seconds, writes in ((299.5, 1), (300.5, 2), (599.5, 2), (601.5, 3)):
            now[0] = 1.0 + seconds
            shared.changed()
            await _settled()
            assert store.writes == writes


async def test_s15_a_loop_that_failed_begins_again_after_its_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits for nothing else, and stores what it could not."""
    monkeypatch.setattr(provider_module, "_AGAIN_SECONDS", 0.0)

    class Broken(_Store):
        async def write(self, _: Any) -> None:
            self.writes += 1
            if self.writes == 1:
                raise ValueError("a defect")

    store = Broken()

    async def check(_: Any) -> Reply:
        return Reply(Answer.PROVIDER_FAULT, code="421", retry_after_seconds=_HOUR_SECONDS)

    with capture_logs() as lines:
        async with _probed(store, check):
            assert store.writes == 2
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "provider_loop_crashed"
    ]


async def test_s15_an_outage_is_probed_also_where_it_can_t_be_stored() -> None:
    """Neither the loop that probes ends with the store, nor the one that shows what it found."""
    checks = []

    async def check(_: Any) -> Reply:
        checks.append(len(checks))
        return Reply(Answer.PROVIDER_FAULT, code="421", retry_after_seconds=_HOUR_SECONDS)

    store, shown = _Store(fails=True), _Store(fails=True)
    with capture_logs() as lines:
        async with _probed(store, check, shown=shown) as shared:
            for _ in range(2):
                shared.open(shared.breaker.fault, "again", retry_after_seconds=_HOUR_SECONDS)
                shared.changed()
                await _settled()
    assert checks == [0]
    assert store.writes == 3
    assert shown.writes >= 3
    events = {line["event"] for line in lines if line["log_level"] != "info"}
    assert {"outage_not_stored", "problem_not_stored"} <= events
    assert not {"provider_loop_postponed", "provider_loop_crashed"} & events


async def test_a_channel_that_cancels_its_check_is_at_fault() -> None:
    """As with any other exception of it, which is logged with its stack."""

    async def check(_: Any) -> Reply:
        raise asyncio.CancelledError

    with capture_logs() as lines:
        async with _probed(_Store(), check) as shared:
            assert shared.breaker.words == "channel_error CancelledError"
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["channel_failed"]


async def test_a_stop_that_cancels_a_check_is_no_fault() -> None:
    """Nothing is said of the channel."""

    async def check(_: Any) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    with capture_logs() as lines:
        async with _probed(_Store(), check) as shared:
            pass
    assert shared.breaker.fault is None
    assert not lines
