"""``closeout demo`` that is interrupted; test_wheels.py has those that run to their end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from integration.cli_support import clean_environment, forked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Services and files are gone, whenever the signal comes."""
    place = tmp_path / "temporary"
    place.mkdir()
    environment = {**clean_environment(), "TMPDIR": str(place)}
    errors = tmp_path / "errors"
    async with forked("demo", folder=tmp_path, environment=environment, errors=errors) as process:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"sender service listening"):
                break
        services = psutil.Process(process.pid).children()
        process.send_signal(number)
        assert await process.wait() == 130
    assert len(services) >= 3
    assert not [service for service in services if service.is_running()]
    assert list(place.iterdir()) == []
