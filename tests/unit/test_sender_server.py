"""What the sender refuses to start with."""

from __future__ import annotations

import pytest

from sender_service.server import running
from sender_service.settings import SenderSettings, Settings
from service_runtime.errors import StartupError


async def test_a_sender_on_postgresql_is_refused() -> None:
    """In one line that names the setting, without the password."""
    sender = SenderSettings(database_url="postgresql://u:secret@127.0.0.1/d")
    with pytest.raises(StartupError) as caught:
        async with running(Settings(sender=sender), channels={}):
            pass
    assert str(caught.value) == "[sender] database_url: the sender runs on sqlite:///PATH only"
