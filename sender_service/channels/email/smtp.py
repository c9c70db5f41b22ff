"""The channel for e-mail over SMTP.

The moment that matters is the one at which the message's data goes out. Before it,
nothing was handed over, whatever happens. After it and until the server's answer, the
server may have taken the message: an answer that does not come is LOST.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import aiosmtplib

from sender_service.channels.contract import (
    Answer,
    EmailContent,
    Handover,
    Reply,
    RetryPolicy,
)
from sender_service.channels.email.addresses import check_email, wire_address
from sender_service.channels.email.headers import UnsafeHeaderError
from sender_service.channels.email.mime import MimeTemplate
from sender_service.channels.email.pool import CannotConnectError, SmtpPool
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.transaction import (
    ConnectionClosingError,
    Envelope,
    Progress,
    Stage,
    transact,
    wire_data,
)
from sender_service.channels.errors import (
    ChannelNotConfiguredError,
    InvalidAddressError,
    InvalidContentError,
    TemplateError,
)
from sender_service.channels.replies import detail, render_error

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Message
    from service_runtime.settings import Section


class SmtpChannel:
    """Sends e-mail through one SMTP server, over a few lasting connections.

    Args:
        settings: the table ``[smtp]``.

    Raises:
        ChannelNotConfiguredError: no host is set, or a setting can't be used.
    """

    name: ClassVar[str] = "smtp"
    settings_model: ClassVar[type[Section]] = SmtpSettings
    at_least_once: ClassVar[bool] = False
    max_in_flight: ClassVar[int] = 64
    #: A server that greylists takes a message after minutes; a full mailbox, or a limit
    #: of the server, lasts for hours.
    retry: ClassVar[RetryPolicy] = RetryPolicy(
        initial_backoff_seconds=60,
        max_backoff_seconds=4 * 3600,
        max_attempts=0,
        schedule=(60, 5 * 60, 15 * 60, 3600, 4 * 3600),
    )

    def __init__(self, settings: SmtpSettings) -> None:
        if not settings.host:
            raise ChannelNotConfiguredError(
                "smtp.host is not set (CLOSEOUT_SMTP_HOST): which server sends the e-mail?"
            )
        self.concurrency = settings.connections
        self.timeout_seconds = settings.timeout_seconds
        self.provider = f"{settings.host}:{settings.effective_port}"
        self._pool = SmtpPool(settings)

    @classmethod
    def from_settings(cls, settings: SmtpSettings) -> SmtpChannel:
        """Build it; connects nothing.

        Raises:
            ChannelNotConfiguredError: no host is set, or a setting can't be used.
        """
        return cls(settings)

    def check_address(self, address: str) -> str:
        """Return the e-mail address as it is sent to and deduplicated by.

        See :func:`~sender_service.channels.email.addresses.check_email`.

        Raises:
            InvalidAddressError: it is not an e-mail address; the text says why.
        """
        return check_email(address)

    def compile(self, content: Content) -> MimeTemplate:
        """Compile and check a campaign's content.

        Raises:
            TemplateError: a template is broken; it says which, line and column.
            InvalidContentError: a field is missing or wrong, or it is no e-mail.
        """
        if not isinstance(content, EmailContent):
            raise InvalidContentError.of_kind(self.name, content.kind, takes="email")
        return MimeTemplate(content)

    async def send(self, template: MimeTemplate, message: Message, handover: Handover) -> Reply:
        """Hand one message to the server, within ``timeout_seconds``.

        A recipient at whom the server hangs up twice is DEFERRED, not UNREACHABLE: one
        such recipient must not hold up a campaign for ever.
        """
        try:
            to = wire_address(message.address)
            envelope = Envelope(template.sender, to, wire_data(template.render(message, to)))
        except TemplateError as error:
            return render_error(error)
        except (InvalidAddressError, UnsafeHeaderError) as error:
            return Reply(Answer.REFUSED, code="header_injection", detail=detail(error))
        progress = Progress(handover)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._deliver(envelope, progress)
        except TimeoutError:
            return progress.broken("timeout", f"no answer within {self.timeout_seconds:g} s")

    async def check(self) -> Reply:
        """Connect and log in, within ``timeout_seconds``."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                connection = await self._pool.take(fresh=True)
        except CannotConnectError as error:
            return Reply(Answer.PROVIDER_FAULT, code=error.code, detail=detail(error))
        except TimeoutError:
            return Progress(Handover()).broken(
                "timeout", f"no answer within {self.timeout_seconds:g} s"
            )
        self._pool.give_back(connection, keep=True)
        return Reply(Answer.ACCEPTED)

    async def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    async def _deliver(self, envelope: Envelope, progress: Progress) -> Reply:
        reply = await self._attempt(envelope, progress, fresh=False)
        if reply is None:
            # Nothing of the message went out, and a lasting connection may just have
            # come to its end: a new one shows whether.
            progress.stage = Stage.BEFORE
            reply = await self._attempt(envelope, progress, fresh=True)
        return reply or progress.broken("connection_lost", "the server hung up")

    async def _attempt(
        self, envelope: Envelope, progress: Progress, *, fresh: bool
    ) -> Reply | None:
        """Try on one connection; None if it broke in a way that a new one may cure."""
        try:
            connection = await self._pool.take(fresh=fresh)
        except CannotConnectError as error:
            return Reply(Answer.PROVIDER_FAULT, code=error.code, detail=detail(error))
        keep = False
        try:
            reply = await transact(connection, envelope, progress)
            keep = reply.answer is not Answer.LOST and connection.client.is_connected
        except ConnectionClosingError as error:
            reply = progress.broken(str(error.code), str(error))
        except (aiosmtplib.SMTPException, OSError) as error:
            reply = progress.broken("connection_lost", str(error))
        else:
            return reply
        finally:
            # Also when cancelled: an answer still under way must meet no other message.
            self._pool.give_back(connection, keep=keep)
        first_of_its_connection = connection.used == 1 and progress.stage is Stage.BEFORE
        if fresh or first_of_its_connection or progress.stage is Stage.HANDED_OVER:
            return reply
        return None
