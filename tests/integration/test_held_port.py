"""A port that is held for a test: its server may listen, nobody else gets it."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from closeout.aio import StatusClient
from providers.held_port import HeldPort
from service_runtime import port_holder
from status_service.server import running
from status_service.settings import Settings, StatusSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_held_port_is_given_to_nobody() -> None:
    """A server that is to have a port of its own is refused, and nobody answers."""
    with HeldPort() as held, socket.socket() as other:
        with pytest.raises(OSError, match="in use") as caught:
            other.bind(("127.0.0.1", held.port))
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", held.port))


async def test_a_service_listens_on_a_held_port_again_and_again(tmp_path: Path) -> None:
    """The holder is not taken for a listener, a service is."""
    with HeldPort() as held:
        settings = StatusSettings(
            listen=held.address, database_url=f"sqlite:///{tmp_path / 'status.db'}", grace_seconds=0
        )
        for _ in range(2):
            assert port_holder.is_free(held.address)
            async with running(Settings(status=settings)), StatusClient(held.address) as client:
                assert not port_holder.is_free(held.address)
                assert [campaign async for campaign in client.list_campaigns()] == []
