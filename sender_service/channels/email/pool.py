"""Connections to one SMTP server, kept open, each used by one task at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiosmtplib

from sender_service.channels.email.settings import Security
from sender_service.channels.errors import ChannelError

if TYPE_CHECKING:
    from sender_service.channels.email.settings import SmtpSettings


class CannotConnectError(ChannelError):
    """There is no connection to be had: no server, no TLS, or no login.

    Args:
        code: the server's code, or a word of ours.
        message: what happened, for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SmtpConnection:
    """A connection that has said EHLO and logged in."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
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

    async def take(self, *, fresh: bool = False) -> SmtpConnection:
        """Return a connection; with ``fresh``, one that nobody used before.

        Raises:
            CannotConnectError: there is none to be had.
        """
        await self._free.acquire()
        connection = None
        try:
            connection = (None if fresh else self._pop_idle()) or await self._connect()
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

    async def _connect(self) -> SmtpConnection:
        settings = self._settings
        security = settings.effective_security
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.effective_port,
            local_hostname=settings.effective_local_hostname,
            timeout=None,  # the caller bounds the whole message
            use_tls=security is Security.TLS,
            start_tls=False,
            tls_context=self._tls_context,
        )
        connected = False
        try:
            await client.connect()
            await _greet(client)
            if security is Security.STARTTLS:
                await self._start_tls(client)
            if settings.username:
                await client.login(settings.username, settings.password.get_secret_value())
            connected = True
        except aiosmtplib.SMTPAuthenticationError as error:
            raise CannotConnectError(
                str(error.code), f"the login was refused: {error.message}"
            ) from error
        except aiosmtplib.SMTPResponseException as error:
            raise CannotConnectError(str(error.code), error.message) from error
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            raise CannotConnectError("connect_failed", str(error)) from error
        finally:
            if not connected:
                client.close()
        return SmtpConnection(client)

    async def _start_tls(self, client: aiosmtplib.SMTP) -> None:
        if not client.supports_extension("starttls"):
            raise CannotConnectError(
                "no_starttls",
                f"{self._settings.host} does not offer STARTTLS; to send in the clear,"
                " set smtp.security to none",
            )
        await client.starttls()
        await _greet(client)  # what it said before TLS may have been forged


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()
