"""Connections to one SMTP server, kept open, each used by one task at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from sender_service.channels.email.opening import Opening
from sender_service.channels.email.settings import Security

if TYPE_CHECKING:
    from sender_service.channels.contract import Handover
    from sender_service.channels.email.opening import SmtpClient
    from sender_service.channels.email.settings import SmtpSettings


class SmtpConnection:
    """A connection that has said EHLO and logged in."""

    def __init__(self, client: SmtpClient) -> None:
        self.client = client
        #: Messages it was used for before.
        self.used = 0
        #: True if a transaction was left open in it.
        self.needs_reset = False
        self.idle_since = time.monotonic()

    def close(self) -> None:
        """Close it at once, whatever it is doing."""
        self.client.close()

    def quit(self) -> None:
        """Say goodbye, and close it without waiting for the answer."""
        if self.client.is_connected and self.client.protocol is not None:
            self.client.protocol.write(b"QUIT\r\n")
        self.client.close()


class SmtpPool:
    """Gives out connections; a caller gives each back, or has it closed.

    Args:
        settings: which server, and how.

    Raises:
        ChannelNotConfiguredError: a setting can't be used.
    """

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.connections)
        self._idle: list[SmtpConnection] = []
        self._closed = False
        self._tls_context = (
            None if settings.effective_security is Security.NONE else settings.tls_context()
        )

    async def take(self, handover: Handover, *, fresh: bool = False) -> SmtpConnection:
        """Return a connection; with ``fresh``, one that nobody used before.

        The stage of ``handover`` says how far it has come.

        Raises:
            CannotConnectError: there is none to be had.
        """
        await self._free.acquire()
        connection = None
        try:
            if fresh and self._idle:  # never more connections than the settings allow
                self._idle.pop(0).quit()
            connection = (None if fresh else self._pop_idle()) or await self._connect(handover)
        finally:
            if connection is None:
                self._free.release()
        return connection

    def give_back(self, connection: SmtpConnection, *, keep: bool) -> None:
        """End the use of a connection; without ``keep`` it is closed."""
        self._free.release()
        connection.used += 1
        if not keep:
            connection.close()
        elif self._closed or connection.used >= self._settings.messages_per_connection:
            connection.quit()
        else:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)

    def close(self) -> None:
        """Close all connections; one in use is closed when its message has ended."""
        self._closed = True
        while self._idle:
            self._idle.pop().quit()

    def _pop_idle(self) -> SmtpConnection | None:
        # The one used last is the one most likely to be alive.
        while self._idle:
            connection = self._idle.pop()
            idle_seconds = time.monotonic() - connection.idle_since
            if connection.client.is_connected and idle_seconds < self._settings.max_idle_seconds:
                return connection
            connection.quit()
        return None

    async def _connect(self, handover: Handover) -> SmtpConnection:
        opening = Opening(self._settings, self._tls_context, handover)
        return SmtpConnection(await opening.run())
