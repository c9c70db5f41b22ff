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
    Handover,
    Reply,
    RetryPolicy,
)
from sender_service.channels.email.addresses import check_email, wire_address
from sender_service.channels.email.failures import Server, silence, unanswered
from sender_service.channels.email.mime import MimeTemplate, mime_template
from sender_service.channels.email.opening import CannotConnectError
from sender_service.channels.email.pool import SmtpPool
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.steps import Step
from sender_service.channels.email.transaction import (
    ConnectionClosingError,
    Envelope,
    Progress,
    transact,
    wire_data,
)
from sender_service.channels.errors import (
    ChannelNotConfiguredError,
    InvalidAddressError,
    TemplateError,
    UnsafeHeaderError,
)
from sender_service.channels.network_faults import words
from sender_service.channels.odd_ones import OddOnes
from sender_service.channels.replies import detail, render_error

if TYPE_CHECKING:
    from sender_service.channels.contract import Content, Fault, Message
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
    template_maker: ClassVar[str] = "sender_service.channels.email.mime:mime_template"
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
        if settings.username and not settings.password.get_secret_value():
            raise ChannelNotConfiguredError(
                "smtp.username is set without smtp.password; set both (CLOSEOUT_SMTP_PASSWORD),"
                " or leave the user name empty for a server without a login"
            )
        self.concurrency = settings.connections
        self.timeout_seconds = settings.timeout_seconds
        self.provider = f"{settings.host}:{settings.effective_port}"
        self._pool = SmtpPool(settings)
        self._server = Server.from_settings(settings)
        self._odd_ones = OddOnes()

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
        return mime_template(content)

    async def send(self, template: MimeTemplate, message: Message, handover: Handover) -> Reply:
        """Hand one message to the server, within ``timeout_seconds``.

        A recipient at whom the server hangs up twice is DEFERRED, not PROVIDER_FAULT: one
        such recipient must not hold up a campaign for ever.
        """
        try:
            to = wire_address(message.address)
            data = wire_data(template.render(message, to))
        except TemplateError as error:
            return render_error(error)
        except (InvalidAddressError, UnsafeHeaderError) as error:
            return Reply(Answer.REFUSED, code="header_injection", detail=detail(error))
        envelope = Envelope(template.sender, to, data, message.idempotency_key, message.campaign_id)
        progress = Progress(envelope, self._server, self._odd_ones, handover)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._deliver(progress)
        except TimeoutError:
            return progress.timed_out()

    async def check(self, handover: Handover | None = None) -> Reply:
        """Connect, agree on TLS and log in, within ``timeout_seconds``.

        The connection is kept for the next message.
        """
        handover = handover or Handover()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                connection = await self._pool.take(handover, fresh=True)
        except CannotConnectError as error:
            return error.reply
        except TimeoutError:
            return silence(self._server, handover.stage)
        self._pool.give_back(connection, keep=True)
        return Reply(Answer.ACCEPTED)

    def silence(self, stage: str, seconds: float) -> Fault:
        """Return what to suspect of a server that does not answer: often port or security."""
        return unanswered(self._server, stage, seconds)

    async def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    async def _deliver(self, progress: Progress) -> Reply:
        reply = await self._attempt(progress, fresh=False)
        if reply is None:
            # Nothing of the message went out, and a lasting connection may just have
            # come to its end: a new one shows whether.
            progress.named = False
            progress.awaits(Step.CONNECT)
            reply = await self._attempt(progress, fresh=True)
        return reply or progress.broken("the server hung up")

    async def _attempt(self, progress: Progress, *, fresh: bool) -> Reply | None:
        """Try on one connection; None if it broke in a way that a new one may cure."""
        handover = progress.handover
        try:
            connection = await self._pool.take(handover, fresh=fresh)
        except CannotConnectError as error:
            return error.reply
        keep = False
        try:
            reply = await transact(connection, progress)
            keep = reply.answer is not Answer.LOST and connection.client.is_connected
        except ConnectionClosingError as error:
            reply = error.reply
        except (aiosmtplib.SMTPException, OSError) as error:
            reply = progress.broken(words(error))
        else:
            return reply
        finally:
            # Also when cancelled: an answer still under way must meet no other message.
            self._pool.give_back(connection, keep=keep)
        first_of_its_connection = connection.used == 1 and not progress.named
        if fresh or first_of_its_connection or handover.begun:
            return reply
        return None
