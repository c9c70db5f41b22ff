"""B2: resets of calls that have hardly begun are counted, and their connection is silenced."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from service_runtime import early_resets
from service_runtime.call_limits import CallLimits, message_has_arrived
from service_runtime.early_resets import MOST_RESETS, EarlyResets, silence_connection


@pytest.fixture(params=["127.0.0.1", "::1"])
def connected(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A client whose server end is open in this process as well."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(
                socket.create_server((request.param, 0), family=_FAMILIES[request.param])
            )
        except OSError:
            pytest.skip("this machine has no IPv6")
        client = stack.enter_context(socket.create_connection(server.getsockname()[:2]))
        accepted, _ = server.accept()
        stack.enter_context(accepted)
        yield client


_FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


def address_of(client: socket.socket) -> str:
    """Return the address of a client as gRPC writes it."""
    host, port = client.getsockname()[:2]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


def untaken(client: socket.socket) -> int:
    """Return how many bytes that a client sent the other end has not taken."""
    (count,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4))
    return int(count)


def unused(_: str) -> bool:
    """Know of no calls that go on."""
    return False


def test_b2_a_connection_that_resets_many_calls_is_silenced_once() -> None:
    """Others are counted apart; the log says which one, once."""
    silenced: list[str] = []
    resets = EarlyResets(silenced.append, clock=lambda: 0.0)
    with capture_logs() as logs:
        for _ in range(2 * MOST_RESETS):
            resets.note("ipv4:127.0.0.1:1", unused)
        for _ in range(MOST_RESETS - 1):
            resets.note("ipv4:127.0.0.1:2", unused)
    assert silenced == ["ipv4:127.0.0.1:1"]
    assert [(line["event"], line["address"]) for line in logs] == [
        ("calls_reset", "ipv4:127.0.0.1:1")
    ]


def test_b2_resets_of_another_second_do_not_count() -> None:
    """Who gives up calls now and then is no attacker, and nothing is kept of him."""
    silenced: list[str] = []
    now = iter(range(10 * MOST_RESETS))
    resets = EarlyResets(silenced.append, clock=lambda: float(next(now)))
    for _ in range(2 * MOST_RESETS):
        resets.note("ipv4:127.0.0.1:1", unused)
    assert silenced == []


def test_b2_nothing_more_is_taken_of_a_silenced_connection(connected: socket.socket) -> None:
    """Its bytes are not acknowledged; those of others are."""
    silence_connection(address_of(connected))
    connected.send(b"more")
    assert untaken(connected) == len(b"more")


def test_b2_where_the_system_has_no_filters_the_connection_is_cut(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client reads the end."""
    monkeypatch.setattr(early_resets, "_ATTACH_FILTER", 9_999)
    silence_connection(address_of(connected))
    assert connected.recv(1) == b""


async def test_b2_a_connection_that_others_use_is_cut(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy; they notice at once, and call again over another one."""
    address, other = address_of(connected), "ipv4:127.0.0.1:1"
    monkeypatch.setattr(early_resets, "_SECOND", 1_000.0)
    limits = CallLimits()

    async def hang(caller: str, *, heard: bool) -> None:
        with limits.held("a", caller, lasting=True):
            if heard:
                message_has_arrived()
            await asyncio.Event().wait()

    honest = [asyncio.create_task(hang(caller, heard=True)) for caller in (address, other)]
    for _ in range(MOST_RESETS):
        reset = asyncio.create_task(hang(address, heard=False))
        await asyncio.sleep(0)
        reset.cancel()
        await asyncio.wait([reset])
    assert connected.recv(1) == b""
    for task in honest:
        task.cancel()
    await asyncio.wait(honest)


def test_b2_a_connection_that_has_gone_is_no_failure(connected: socket.socket) -> None:
    """Nothing is found; a connection of another address goes on."""
    silence_connection("ipv4:127.0.0.1:1")
    connected.send(b"more")
    assert untaken(connected) == 0
