"""Ports: one that is held for a test, and what is said of one that can't be listened on."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from closeout.aio import StatusClient
from providers.held_port import HeldPort
from service_runtime import port_holder
from service_runtime.errors import StartupError
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
            http_listen="127.0.0.1:0",
            listen=held.address,
            database_url=f"sqlite:///{tmp_path / 'status.db'}",
            grace_seconds=0,
        )
        for _ in range(2):
            assert port_holder.is_free(held.address)
            async with running(Settings(status=settings)), StatusClient(held.address) as client:
                assert not port_holder.is_free(held.address)
                assert [campaign async for campaign in client.list_campaigns()] == []


def test_a_free_port_has_no_obstacle() -> None:
    """Nothing is said of an address that can be listened on, by number or by name."""
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]"):  # noqa: S104 - not served
        assert not port_holder.obstacle(f"{host}:0")


def test_who_listens_on_a_port_is_named_at_once() -> None:
    """The process and its command; a listener does not go by itself, so nobody waits."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        text = port_holder.obstacle(address, patience_seconds=3600)
    assert text.startswith(f"can't listen on {address}: in use by process {os.getpid()} (")
    assert text.endswith("; stop it or choose another address")


def test_a_client_of_a_port_is_not_taken_for_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system lists connections to the port as well: to stop those would free nothing."""

    def listed(pid: int, *, local: int, remote: int | None, status: str) -> Any:
        far = SimpleNamespace(port=remote) if remote else ()
        return SimpleNamespace(pid=pid, laddr=SimpleNamespace(port=local), raddr=far, status=status)

    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        connections = [
            listed(1, local=40_000, remote=port, status="ESTABLISHED"),  # its client
            listed(1, local=port, remote=40_000, status="ESTABLISHED"),  # a worker of it
            listed(1, local=40_001, remote=None, status="LISTEN"),
            listed(os.getpid(), local=port, remote=None, status="LISTEN"),
        ]
        monkeypatch.setattr("psutil.net_connections", lambda _: connections)
        text = port_holder.obstacle(f"127.0.0.1:{port}", patience_seconds=3600)
    assert f"in use by process {os.getpid()} (" in text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/bin/python", "-m", "status_service", "--check"], "/bin/python -m status_service"),
        (["mysqld", "--password", "hunter2"], "mysqld"),
        (["psql", "postgresql://u:hunter2@h/d"], "psql"),
        (["nginx: master process"], "nginx: master process"),
    ],
)
def test_a_command_is_named_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, words: list[str], shown: str
) -> None:
    """Of a foreign process the program is enough, and its module."""
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: words)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        text = port_holder.obstacle(address)
    assert f"in use by process {os.getpid()} ({shown}); stop it" in text


def outgoing() -> tuple[socket.socket, socket.socket, str]:
    """Return both ends of a connection, and the address that its client has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    return client, accepted, f"127.0.0.1:{client.getsockname()[1]}"


def test_a_port_of_an_outgoing_connection_is_distinguished() -> None:
    """Nobody listens there: the port is free again when the connection is gone."""
    client, accepted, address = outgoing()
    with client, accepted:
        text = port_holder.obstacle(address, patience_seconds=0)
    assert text == (
        f"can't listen on {address}: an outgoing connection has it just now; try again in a"
        " minute, or choose another port, best one below 32768"
    )


async def test_a_port_of_an_outgoing_connection_is_tried_again() -> None:
    """A connection that ends meanwhile is in nobody's way."""
    client, accepted, address = outgoing()
    with client, accepted:
        assert not port_holder.is_free(address)
        waiting = asyncio.create_task(
            asyncio.to_thread(port_holder.obstacle, address, patience_seconds=60)
        )
        await asyncio.sleep(0)
        accepted.close()  # the end that closes first is the one that keeps its port
        client.close()
        assert await waiting == ""


def test_a_connection_that_is_closed_keeps_its_port_for_a_while() -> None:
    """TIME-WAIT, for a minute on Linux: the text says the same as of an open connection."""
    client, accepted, address = outgoing()
    client.close()
    accepted.close()
    if text := port_holder.obstacle(address, patience_seconds=0):  # where the system keeps it
        assert "an outgoing connection has it just now" in text


@pytest.mark.parametrize(
    ("address", "error", "expected"),
    [
        (
            "127.0.0.1:80",
            OSError(errno.EACCES, "Permission denied"),
            "port 80 needs root or CAP_NET_BIND_SERVICE; choose one above 1023",
        ),
        (
            "203.0.113.1:20051",
            OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
            "the address is not of this machine; take one of its own, as in 127.0.0.1",
        ),
        (
            "no-such-host.invalid:20051",
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the name is not known here; take an address of this machine",
        ),
        (
            "127.0.0.1:20051",
            OSError(errno.EACCES, "Permission denied"),
            "Permission denied; choose another address",
        ),
    ],
)
def test_each_refusal_of_the_system_has_its_own_words(
    address: str, error: OSError, expected: str
) -> None:
    """A missing right, an address of elsewhere and an unknown name are distinguished."""
    assert port_holder.describe(address, error).startswith(f"can't listen on {address}: {expected}")


async def test_a_service_says_why_it_can_not_listen(tmp_path: Path) -> None:
    """The line of the start is that of the check, and not gRPC's own."""
    settings = StatusSettings(
        http_listen="127.0.0.1:0",
        listen="203.0.113.1:20051",
        allow_without_keys=True,
        allow_plaintext=True,
        database_url=f"sqlite:///{tmp_path / 'status.db'}",
    )
    with pytest.raises(StartupError, match="the address is not of this machine"):
        async with running(Settings(status=settings)):
            pass
