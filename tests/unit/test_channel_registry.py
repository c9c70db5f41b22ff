"""Channels of other packages: what is refused at the start."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest

from sender_service.channels import registry
from sender_service.channels.contract import ENTRY_POINT_GROUP
from sender_service.channels.null import NullChannel
from service_runtime.errors import StartupError


class OldChannel:
    """A channel that never heard of checks, schedules and handovers."""

    settings_model = NullChannel.settings_model
    at_least_once = False
    max_in_flight = 1
    from_settings = NullChannel.from_settings

    def check_address(self, address: str) -> str:
        """Take any."""
        return address

    def compile(self, content: Any) -> Any:
        """Take any."""
        return content

    async def send(self, template: Any, message: Any) -> None:
        """Take no handover."""

    async def close(self) -> None:
        """Have nothing to close."""


def test_the_channels_of_this_package_fit() -> None:
    """Each of them has all parts of the contract."""
    assert {"console", "null", "smtp", "webhook"} <= set(registry.installed_channels())


def test_a_channel_made_for_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start names what it lacks, instead of campaigns that wait for a reason nobody knows."""
    point = EntryPoint("old", f"{__name__}:OldChannel", ENTRY_POINT_GROUP)
    found = [*entry_points(group=ENTRY_POINT_GROUP), point]
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda **_: found)
    with pytest.raises(StartupError, match="has no retry, check, send with handover:"):
        registry.installed_channels()
