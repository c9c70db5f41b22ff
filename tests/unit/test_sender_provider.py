"""A provider that takes nothing is probed, and what came of it outlives a restart."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import Directory
from sender_service.delivery.circuit_breaker import Breaker
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Gate
from sender_service.delivery.provider import Provider
from sender_service.verdicts import Answer, Reply

_HOUR_SECONDS = 3_600.0


class _Store:
    """Counts what is written."""

    def __init__(self) -> None:
        self.writes = 0

    async def write(self, _: Any) -> None:
        """Count a write."""
        self.writes += 1


async def _settled() -> None:
    """Let all others run until they wait."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_failed_probe_is_stored_once() -> None:
    """However often somebody looks before the next one, which is stored again."""
    store: Any = _Store()
    anything: Any = _Store()
    row: Any = SimpleNamespace(
        campaign=1, campaign_id="c1", organisation="default", unreachable_time=None
    )
    reply = Reply(Answer.PROVIDER_FAULT, code="421", retry_after_seconds=_HOUR_SECONDS)

    async def check(_: Any) -> Reply:
        return reply

    channel: Any = SimpleNamespace(
        name="smtp", provider="smtp.example.com:587", timeout_seconds=1.0, check=check
    )
    provider = Provider(store, Directory(anything), channel, Clock())
    gate = Gate(
        provider.shared, ActiveCampaign(row), remaining=10, deadline_seconds=10 * _HOUR_SECONDS
    )
    provider.attend(gate)
    provider.start()
    try:
        await _settled()
        assert provider.shared.breaker.state is Breaker.OPEN
        assert store.writes == 1
        for _ in range(3):
            provider.shared.changed()
            await _settled()
        assert store.writes == 1
        fault = provider.shared.breaker.fault
        assert fault is not None
        provider.shared.open(fault, "again", retry_after_seconds=_HOUR_SECONDS)
        provider.shared.changed()
        await _settled()
        assert store.writes == 2
    finally:
        await provider.close()
