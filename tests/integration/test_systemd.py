"""What a service says to systemd, with a socket in the place of systemd's."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acceptance.processes import Service
from service_runtime.systemd import Systemd

PATIENCE_SECONDS = 60


class Listening:
    """The other end: collects what is sent."""

    def __init__(self, place: str) -> None:
        self.address = place.replace("\0", "@")
        self.way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.way.bind(place)
        self.way.setblocking(False)  # noqa: FBT003 - has no name
        self.heard: list[str] = []

    async def hear(self, line: str) -> None:
        """Wait until a line was sent."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line not in self.heard:
                data = await asyncio.get_running_loop().sock_recv(self.way, 4096)
                self.heard += data.decode().split("\n")

    def rest(self) -> list[str]:
        """Return what was sent and not heard yet."""
        lines: list[str] = []
        while True:
            try:
                lines += self.way.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines


@contextmanager
def listening(place: str) -> Iterator[Listening]:
    """Listen while the block runs."""
    other = Listening(place)
    try:
        yield other
    finally:
        other.way.close()


@pytest.fixture(params=["file", "abstract"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    """Each kind of address that systemd hands over."""
    name = f"{os.getpid()}-{tmp_path.name}"
    place = f"\0closeout-{name}" if request.param == "abstract" else str(tmp_path / "notify")
    with listening(place) as made:
        yield made


async def test_a_service_says_that_it_is_ready_and_that_it_stops(other: Listening) -> None:
    """Ready while the block runs; without a watchdog no sign of life."""
    systemd = Systemd({"NOTIFY_SOCKET": other.address})
    async with systemd.notified(lambda: True):
        await other.hear("READY=1")
    await other.hear("STOPPING=1")
    assert "WATCHDOG=1" not in other.heard


async def test_signs_of_life_come_while_the_writer_makes_progress(other: Listening) -> None:
    """They end while a write hangs, and go on after it."""
    progresses = True
    environment = {"NOTIFY_SOCKET": other.address, "WATCHDOG_USEC": "30000"}
    systemd = Systemd(environment)
    assert systemd.watchdog_seconds == 0.03
    with capture_logs() as logs:
        async with systemd.notified(lambda: progresses):
            await other.hear("WATCHDOG=1")
            progresses = False
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not any(line["event"] == "watchdog_silent" for line in logs):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            other.rest()
            assert other.rest() == []
            other.heard.clear()
            progresses = True
            await other.hear("WATCHDOG=1")
    assert sum(line["event"] == "watchdog_silent" for line in logs) == 1


async def test_a_watchdog_of_another_process_is_not_ours(other: Listening) -> None:
    """Systemd names the process that it waits for."""
    environment = {
        "NOTIFY_SOCKET": other.address,
        "WATCHDOG_USEC": "30000",
        "WATCHDOG_PID": str(os.getpid() + 1),
    }
    assert Systemd(environment).watchdog_seconds == 0
    assert environment == {}, "no child may speak for the service"


async def test_without_systemd_nothing_is_sent() -> None:
    """Started by hand, a service serves as well."""
    async with Systemd({}).notified(lambda: True):
        pass


@pytest.mark.parametrize("name", ["status", "sender"])
async def test_a_service_started_by_systemd_says_when_it_is_ready(
    name: str, tmp_path: Path
) -> None:
    """The process itself: ready once it listens, signs of life, and that it stops on SIGTERM."""
    with (
        listening(str(tmp_path / "notify")) as other,
        Service(
            f"{name}_service",
            f"{name} service listening on ",
            tmp_path,
            {f"CLOSEOUT_{name}_LISTEN".upper(): "127.0.0.1:0"},
        ) as service,
    ):
        service.launch(NOTIFY_SOCKET=other.address, WATCHDOG_USEC="100000")
        await other.hear("READY=1")
        await other.hear("WATCHDOG=1")
        assert await asyncio.to_thread(service.terminate) == 0
        await other.hear("STOPPING=1")


async def test_a_socket_that_is_gone_ends_no_service(tmp_path: Path) -> None:
    """It is logged."""
    with capture_logs() as logs:
        async with Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notified(lambda: True):
            pass
    assert [line["event"] for line in logs] == ["systemd_not_notified"] * 2
