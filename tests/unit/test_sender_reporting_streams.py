"""For whom a sender has a stream to the status service, with a key of its own and without."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sender_service.campaigns.directory import Directory
from sender_service.campaigns.status_account import StatusAccount
from sender_service.reporting.organisations import Reporting


class Played(StatusAccount):
    """A status service that takes every stream and says nothing, and a store without campaigns."""

    def __init__(self, *, has_key: bool) -> None:
        self.has_key = has_key
        self.opened: list[str] = []

    def client(self, organisation: str, _: Any = None) -> Any:
        """Return what opens a stream of an organisation."""
        self.opened.append(organisation)
        return SimpleNamespace(report_results=lambda: self)

    def cancel(self) -> None:
        """End a stream."""

    async def write(self, _: Any) -> None:
        """Take what is written."""

    async def read(self, work: Any = None) -> list[Any]:
        """Have nothing in the store, and say nothing on a stream."""
        if work is None:
            await asyncio.Event().wait()
        return []

    async def opened_for(self, *organisations: str) -> list[str]:
        """Return for whom streams are opened while some organisations have work."""
        store: Any = self
        directory = Directory(store)
        for number, organisation in enumerate(organisations):
            row: Any = SimpleNamespace(campaign=number, campaign_id="c", organisation=organisation)
            directory.add(row)
        reporting = Reporting(store, self, directory, instance="one", replay_days=7)
        running = asyncio.create_task(reporting.run())
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return self.opened


@pytest.mark.parametrize(
    ("has_key", "work", "opened"),
    [
        (False, [], ["default"]),
        (False, ["default"], ["default"]),
        (True, [], []),
        (True, ["default"], ["default"]),
        (True, ["alpha", "beta"], ["alpha", "beta"]),
    ],
)
async def test_a_sender_without_a_key_has_the_stream_of_default_without_work_as_well(
    work: list[str], opened: list[str], *, has_key: bool
) -> None:
    """So it hears of pauses and of a restored store; one with a key has a stream for work alone."""
    assert await Played(has_key=has_key).opened_for(*work) == opened
