"""Opening a connection to the mail server: greeting, EHLO, TLS and login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiosmtplib

from sender_service.channels.email.failures import Server, failure, no_starttls, refusal
from sender_service.channels.email.settings import Security
from sender_service.channels.email.steps import Step
from sender_service.channels.errors import ChannelError
from sender_service.channels.sockets import open_socket

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from sender_service.channels.contract import Handover, Reply
    from sender_service.channels.email.settings import SmtpSettings

_CLOSING = 421
#: The server knows this way to log in, and not this user name with this password.
_WRONG_LOGIN = 535


class CannotConnectError(ChannelError):
    """There is no connection to be had: no server, no TLS, or no login.

    Args:
        reply: PROVIDER_FAULT, with what is wrong.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.detail)
        self.reply = reply


class SmtpClient(aiosmtplib.SMTP):
    """The client, which also says when its connection is there, and what was answered last.

    Args:
        on_connected: called when TLS from the start is agreed, before the greeting.
        options: of the client.
    """

    def __init__(self, on_connected: Callable[[], None], **options: Any) -> None:
        self._on_connected = on_connected
        self._connection: asyncio.BaseTransport | None = None
        self._wrong_login: aiosmtplib.SMTPAuthenticationError | None = None
        #: The answer to the last command.
        self.last_response = aiosmtplib.SMTPResponse(0, "")
        super().__init__(**options)

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """The connection; the base class sets it between TLS and the greeting."""
        return self._connection

    @transport.setter
    def transport(self, transport: asyncio.BaseTransport | None) -> None:
        is_first = self._connection is None
        self._connection = transport
        if transport is not None and is_first:
            self._on_connected()

    async def execute_command(self, *args: bytes, **options: Any) -> aiosmtplib.SMTPResponse:
        """Send a command, and keep its answer."""
        self.last_response = await super().execute_command(*args, **options)
        return self.last_response

    async def auth_plain(self, *args: Any, **options: Any) -> aiosmtplib.SMTPResponse:
        """Log in with user name and password in one word."""
        try:
            return await super().auth_plain(*args, **options)
        except aiosmtplib.SMTPAuthenticationError as error:
            if error.code == _WRONG_LOGIN:
                self._wrong_login = error
            raise

    async def auth_login(self, *args: Any, **options: Any) -> aiosmtplib.SMTPResponse:
        """Log in with the same in two words, unless they are known to be wrong.

        A second try would count as another failed login, and a few of them block the account.
        """
        if self._wrong_login is not None:
            raise self._wrong_login
        return await super().auth_login(*args, **options)


class Opening:
    """Opens one connection, and keeps the stage of a handover true while it does.

    Args:
        settings: which server, and how.
        tls_context: what TLS is made with; None: without TLS.
        handover: its stage is kept.
    """

    def __init__(
        self, settings: SmtpSettings, tls_context: ssl.SSLContext | None, handover: Handover
    ) -> None:
        self._settings = settings
        self._server = Server.from_settings(settings)
        self._handover = handover
        self._step = Step.CONNECT
        self._client = SmtpClient(
            lambda: self._await(Step.GREETING),
            hostname=settings.host,
            local_hostname=settings.effective_local_hostname,
            timeout=None,  # the caller bounds the whole message
            use_tls=settings.effective_security is Security.TLS,
            start_tls=False,
            tls_context=tls_context,
        )

    async def run(self) -> SmtpClient:
        """Return the client once it has said EHLO and logged in.

        Raises:
            CannotConnectError: it can't be had.
        """
        ready = False
        try:
            await self._open()
            ready = True
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            raise CannotConnectError(self._failure(error)) from error
        finally:
            if not ready:
                self._client.close()
        return self._client

    async def _open(self) -> None:
        settings, client = self._settings, self._client
        self._await(Step.CONNECT)
        connection = await open_socket(settings.host, settings.effective_port)
        self._await(Step.TLS if client.use_tls else Step.GREETING)
        await client.connect(sock=connection)  # it is the client's from here on
        await self._greet()
        if settings.effective_security is Security.STARTTLS:
            self._await(Step.TLS)
            if not client.supports_extension("starttls"):
                raise CannotConnectError(no_starttls(self._server))
            await client.starttls()
            await self._greet()  # what it said before TLS may have been forged
        if settings.username:
            self._await(Step.LOGIN)
            await client.login(settings.username, settings.password.get_secret_value())

    async def _greet(self) -> None:
        self._await(Step.EHLO)
        try:
            await self._client.ehlo()
        except aiosmtplib.SMTPHeloError:
            if not self._client.is_connected:
                raise
            await self._client.helo()

    def _await(self, step: Step) -> None:
        self._step = step
        self._handover.stage = step.clause

    def _failure(self, error: Exception) -> Reply:
        last = self._client.last_response
        if isinstance(error, aiosmtplib.SMTPServerDisconnected) and last.code == _CLOSING:
            # The client went on to another way to log in, on a connection that had ended.
            return refusal(self._server, self._step, last.code, last.message)
        return failure(self._server, self._step, error)
