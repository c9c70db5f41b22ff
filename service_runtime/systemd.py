"""Says to systemd that a service is ready, lives and stops: ``Type=notify``.

Without systemd, which sets ``NOTIFY_SOCKET``, nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, MutableMapping

log = structlog.get_logger()

_MICROSECONDS = 1_000_000
#: A sign of life is sent so many times in the time that systemd allows.
_SIGNS = 3


class Systemd:
    """The way to systemd, if it started this process.

    The variables are taken out of the environment, so that no child speaks for the service.

    Args:
        environment: that of the process.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        process = environment.pop("WATCHDOG_PID", "")
        for_us = not process or process == str(os.getpid())
        #: How long systemd waits for a sign of life, seconds; 0: it does not.
        self.watchdog_seconds = (
            int(microseconds) / _MICROSECONDS if for_us and microseconds.isdecimal() else 0.0
        )

    def send(self, *lines: str) -> None:
        """Send lines such as ``READY=1``. A failure is logged: the service goes on."""
        if not self._address:
            return
        # An address in the abstract namespace is written with an @ for its first byte.
        address = self._address
        place = f"\0{address[1:]}" if address.startswith("@") else address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
                way.setblocking(False)  # noqa: FBT003 - has no name; never hold up the loop
                way.connect(place)
                way.send("\n".join(lines).encode())
        except OSError as error:
            log.warning("systemd_not_notified", lines=lines, error=str(error))

    @contextlib.asynccontextmanager
    async def notified(self, progresses: Callable[[], bool]) -> AsyncIterator[None]:
        """Say that the service is ready, that it lives during the block, that it stops.

        Args:
            progresses: whether the writer makes progress. That the event loop does is
                shown by the sign of life itself. Without one systemd restarts the service.
        """
        self.send("READY=1", "STATUS=serving")
        life = asyncio.create_task(self._live(progresses), name="systemd watchdog")
        try:
            yield
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            self.send("STOPPING=1", "STATUS=stopping")

    async def _live(self, progresses: Callable[[], bool]) -> None:
        silent = False
        while self.watchdog_seconds:
            if progresses():
                silent = False
                self.send("WATCHDOG=1")
            elif not silent:
                silent = True
                log.error("watchdog_silent", reason="a write hangs", action="systemd restarts it")
            await asyncio.sleep(self.watchdog_seconds / _SIGNS)
