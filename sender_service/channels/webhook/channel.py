"""The channel that posts each message as JSON to one address of the operator's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import aiohttp

from sender_service.channels.contract import Answer, Reply, RetryPolicy
from sender_service.channels.email.addresses import check_printable
from sender_service.channels.errors import TemplateError
from sender_service.channels.replies import detail, render_error
from sender_service.channels.webhook.body import body_of
from sender_service.channels.webhook.settings import (
    WebhookSettings,
    checked_url,
    header_value,
    signing_key,
)

if TYPE_CHECKING:
    from types import SimpleNamespace

    from sender_service.channels.contract import Content, Handover, Message
    from sender_service.channels.webhook.body import Body
    from service_runtime.settings import Section

#: As much of an answer is read, bytes; more is of no interest.
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_ID_CHARACTERS = 255
#: 425 is Too Early (RFC 8470); with 5xx, these say "not now".
_NOT_NOW = frozenset({408, 425, 429})
#: A gateway says that it had no answer; what the receiver behind it did is not known.
_ANSWER_LOST = frozenset({502, 504})


class WebhookChannel:
    """Posts every message to one URL, with a key that identifies a second try.

    The body of an e-mail or a text is a JSON object with the message's data and the
    rendered texts (:class:`~sender_service.channels.webhook.body.EnvelopeBody`); that of
    a JSON document is the document. The header ``Idempotency-Key`` is the same for every
    try of one message.

    With a secret, ``Webhook-Id`` (the idempotency key), ``Webhook-Timestamp`` (seconds
    since 1970) and ``Webhook-Signature`` are added: ``v1,`` and the base64 of the
    HMAC-SHA256 of ``id.timestamp.body`` with the secret, as Standard Webhooks has it. A
    secret that begins with ``whsec_`` is base64 behind it, any other is taken as it is.

    Args:
        settings: the table ``[webhook]``.

    Raises:
        ChannelNotConfiguredError: no URL is set, or a setting can't be used.
    """

    name: ClassVar[str] = "webhook"
    settings_model: ClassVar[type[Section]] = WebhookSettings
    at_least_once: ClassVar[bool] = True
    max_in_flight: ClassVar[int] = 256
    #: A server that is overloaded, or restarts, is back after seconds or minutes.
    retry: ClassVar[RetryPolicy] = RetryPolicy(
        initial_backoff_seconds=5,
        max_backoff_seconds=3600,
        max_attempts=0,
        schedule=(5, 30, 2 * 60, 10 * 60, 3600),
    )

    def __init__(self, settings: WebhookSettings) -> None:
        self.concurrency = settings.connections
        self.timeout_seconds = settings.timeout_seconds
        self._url = checked_url(settings.url)
        self.provider = self._url
        self._authorization = header_value(settings.authorization, "authorization")
        self._key = signing_key(settings.secret)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_settings(cls, settings: WebhookSettings) -> WebhookChannel:
        """Build it; connects nothing.

        Raises:
            ChannelNotConfiguredError: no URL is set, or a setting can't be used.
        """
        return cls(settings)

    def check_address(self, address: str) -> str:
        """Return the address without spaces around it; what it means is the server's matter.

        Raises:
            InvalidAddressError: it is empty, longer than 320 characters, or can't be printed.
        """
        return check_printable(address)

    def compile(self, content: Content) -> Body:
        """Compile the templates.

        Raises:
            TemplateError: a template is broken; it says which, line and column.
            InvalidContentError: there is no content, or neither text nor HTML.
        """
        return body_of(content, channel=self.name)

    async def send(self, template: Body, message: Message, handover: Handover) -> Reply:
        """Post one message, within ``timeout_seconds``."""
        try:
            body = template.render(message)
        except TemplateError as error:
            return render_error(error)
        progress = _Progress(handover)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._post(body, message.idempotency_key, progress)
        except TimeoutError:
            return progress.broken("timeout", f"no answer within {self.timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return progress.broken("connection_lost", str(error) or type(error).__name__)

    async def check(self) -> Reply:
        """Connect to the server, within ``timeout_seconds``."""
        parts = urlsplit(self._url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                _, writer = await asyncio.open_connection(
                    parts.hostname, port, ssl=parts.scheme == "https" or None
                )
        except (OSError, TimeoutError) as error:
            return Reply(Answer.PROVIDER_FAULT, code="connect_failed", detail=detail(error))
        writer.close()
        return Reply(Answer.ACCEPTED)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes, key: str, progress: _Progress) -> Reply:
        async with self._open_session().post(
            self._url,
            data=body,
            headers=self._headers(body, key),
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            progress.reply = _reply(response)
            content = await _read(response)
            if progress.reply.answer is Answer.ACCEPTED:
                return replace(progress.reply, provider_message_id=_message_id(content))
            said = f"{response.reason or ''} {content.decode('utf-8', 'replace')}"
            return replace(progress.reply, detail=detail(said))

    def _headers(self, body: bytes, key: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self._authorization:
            headers["Authorization"] = self._authorization
        if self._key:
            timestamp = str(int(time.time()))
            signed = f"{key}.{timestamp}.".encode() + body
            digest = hmac.digest(self._key, signed, hashlib.sha256)
            headers["Webhook-Id"] = key
            headers["Webhook-Timestamp"] = timestamp
            headers["Webhook-Signature"] = f"v1,{base64.b64encode(digest).decode('ascii')}"
        return headers

    def _open_session(self) -> aiohttp.ClientSession:
        # It belongs to a loop, so it is not made before the first message.
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_handed_over)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.concurrency),
                timeout=aiohttp.ClientTimeout(total=None),  # the whole message is bounded
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
            )
        return self._session


@dataclass(slots=True)
class _Progress:
    """How far a message has come, known also when its time is up."""

    handover: Handover
    #: By the status alone; the answer's text may still be on its way.
    reply: Reply | None = None

    def broken(self, code: str, text: str) -> Reply:
        """Return the reply for a connection that broke, or a time that was up."""
        if self.reply is not None:
            return self.reply
        answer = Answer.LOST if self.handover.begun else Answer.PROVIDER_FAULT
        return Reply(answer, code=code, detail=detail(text))


async def _mark_handed_over(
    session: aiohttp.ClientSession,  # noqa: ARG001 - the shape of a trace
    context: SimpleNamespace,
    parameters: aiohttp.TraceRequestHeadersSentParams,  # noqa: ARG001
) -> None:
    # Called when there is a connection, just before the first byte is written to it.
    context.trace_request_ctx.handover.begin("before the server answered")


def _reply(response: aiohttp.ClientResponse) -> Reply:
    status = response.status
    code = str(status)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Reply(Answer.ACCEPTED, code=code)
    if status in _ANSWER_LOST:
        return Reply(Answer.LOST, code=code)
    if status in _NOT_NOW or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait = _retry_after(response.headers.get("Retry-After", ""))
        return Reply(Answer.DEFERRED, code=code, retry_after_seconds=wait)
    if status == HTTPStatus.UNAUTHORIZED:  # the settings are wrong, not the message
        return Reply(Answer.PROVIDER_FAULT, code=code)
    return Reply(Answer.REFUSED, code=code)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = b""
    while len(content) < _MAX_ANSWER_BYTES:
        chunk = await response.content.read(_MAX_ANSWER_BYTES - len(content))
        if not chunk:
            break
        content += chunk
    return content


def _message_id(content: bytes) -> str:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return ""  # an answer need not be JSON
    if not isinstance(answer, dict):
        return ""
    for name in ("id", "message_id"):
        value = answer.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value)
            return text[:_MAX_ID_CHARACTERS] if text.isprintable() else ""
    return ""


def _retry_after(value: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, if it can be read."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max(0.0, (due - datetime.now(UTC)).total_seconds())
