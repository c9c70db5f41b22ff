"""The channel that posts each message as JSON to one address of the operator's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from sender_service.channels.contract import Answer, Handover, Reply, RetryPolicy
from sender_service.channels.email.addresses import check_printable
from sender_service.channels.errors import TemplateError
from sender_service.channels.network_faults import words
from sender_service.channels.odd_ones import OddOnes
from sender_service.channels.replies import detail, render_error
from sender_service.channels.sockets import open_socket
from sender_service.channels.webhook.answer import message_id, read
from sender_service.channels.webhook.body import body_of
from sender_service.channels.webhook.settings import (
    WebhookSettings,
    checked_url,
    header_value,
    signing_key,
)
from sender_service.channels.webhook.verdicts import (
    AGREEING,
    ASKING,
    CONNECTING,
    POSTING,
    failure,
    health_reply,
    place_of,
    retry_after_seconds,
    silence,
    unanswered,
    verdict_of,
)

if TYPE_CHECKING:
    from types import SimpleNamespace

    import aiohttp

    from sender_service.channels.contract import Content, Fault, Message
    from sender_service.channels.webhook.body import Body
    from service_runtime.settings import Section


#: A status that condemns one message alone is believed at this try: the path may have
#: broken just now, or one of several servers behind it.
_TRIES_OF_AN_ODD_ONE = 3


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
    template_maker: ClassVar[str] = "sender_service.channels.webhook.body:body_of"
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
        self._health_url = checked_url(settings.health_url, "health_url", required=False)
        self._place = place_of(self._url)
        self._checked_place = (
            place_of(self._health_url, "health_url") if self._health_url else self._place
        )
        self._odd_ones = OddOnes()
        self.provider = f"{self._place.host}:{self._place.port}"
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
        return body_of(content)

    async def send(self, template: Body, message: Message, handover: Handover) -> Reply:
        """Post one message, within ``timeout_seconds``."""
        try:
            body = template.render(message)
        except TemplateError as error:
            return render_error(error)
        handover.stage = CONNECTING
        progress = _Progress(handover)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._post(body, message, progress)
        except TimeoutError:
            return progress.broken(silence(self._place, self.timeout_seconds, handover.stage))
        except _faults() as error:
            said = words(error) or type(error).__name__
            lost = Reply(Answer.LOST, code="connection_lost", detail=said)
            return progress.broken(
                lost if handover.begun else failure(self._place, error, handover.stage)
            )

    async def check(self, handover: Handover | None = None) -> Reply:
        """Get ``health_url``, or only connect where there is none, within ``timeout_seconds``."""
        handover = handover or Handover()
        handover.stage = CONNECTING
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await (self._ask(handover) if self._health_url else self._reach(handover))
        except TimeoutError:
            return silence(self._checked_place, self.timeout_seconds, handover.stage)
        except _faults() as error:
            return failure(self._checked_place, error, handover.stage)

    def silence(self, stage: str, seconds: float) -> Fault:
        """Return what to suspect of a server that does not answer."""
        return unanswered(self._place, seconds, stage)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, handover: Handover) -> Reply:
        headers = {"Authorization": self._authorization} if self._authorization else {}
        async with self._open_session().get(
            self._health_url,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=_Progress(handover, is_check=True),
        ) as response:
            said = f"{response.reason or ''} {(await read(response)).decode('utf-8', 'replace')}"
            header = response.headers.get("Retry-After", "")
            return health_reply(self._checked_place, response.status, said, header)

    async def _reach(self, handover: Handover) -> Reply:
        host, is_secure = self._place.host, self._url.lower().startswith("https:")
        connection = await open_socket(host, self._place.port)
        handover.stage = AGREEING if is_secure else CONNECTING
        _, writer = await asyncio.open_connection(
            sock=connection,
            ssl=True if is_secure else None,
            server_hostname=host if is_secure else None,
        )
        writer.close()
        return Reply(Answer.ACCEPTED)

    async def _post(self, body: bytes, message: Message, progress: _Progress) -> Reply:
        async with self._open_session().post(
            self._url,
            data=body,
            headers=self._headers(body, message.idempotency_key),
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            progress.reply = self._judge(response, message)
            content = await read(response)
            if progress.reply.answer is Answer.ACCEPTED:
                return replace(progress.reply, provider_message_id=message_id(content))
            said = f"{response.reason or ''} {content.decode('utf-8', 'replace')}"
            return replace(progress.reply, detail=detail(said))

    def _judge(self, response: aiohttp.ClientResponse, message: Message) -> Reply:
        """Return the reply by the status alone; the text may still be on its way."""
        header = response.headers.get("Retry-After", "")
        verdict = verdict_of(response.status, header)
        campaign, key = message.campaign_id, message.idempotency_key
        if verdict.answer is Answer.ACCEPTED:
            self._odd_ones.taken(campaign, key)
        if verdict.alone is Answer.REFUSED and message.attempt < _TRIES_OF_AN_ODD_ONE:
            verdict = replace(verdict, alone=Answer.DEFERRED)
        return verdict.reply(
            str(response.status),
            "",
            names={"host": self._place.host},
            is_odd=verdict.alone is not None
            and self._odd_ones.is_odd(campaign, key, kind=verdict.kind),
            retry_after_seconds=retry_after_seconds(header),
        )

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
            import aiohttp  # noqa: PLC0415 - slow to import, and most senders use another channel

            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.concurrency),
                timeout=aiohttp.ClientTimeout(total=None),  # the whole message is bounded
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
            )
        return self._session


def _faults() -> tuple[type[Exception], ...]:
    """Return what a broken connection raises."""
    import aiohttp  # noqa: PLC0415 - as above

    return (aiohttp.ClientError, OSError, UnicodeError)


@dataclass(slots=True)
class _Progress:
    """How far a call has come, known also when its time is up."""

    handover: Handover
    #: Nothing is handed over.
    is_check: bool = False
    #: By the status alone; the answer's text may still be on its way.
    reply: Reply | None = None

    def broken(self, reply: Reply) -> Reply:
        """Return what a broken connection, or a time that was up, means.

        ``reply`` counts before the request went out.
        """
        if self.reply is not None:
            return self.reply
        if self.handover.begun:
            return Reply(Answer.LOST, code=reply.code, detail=reply.detail)
        return reply


async def _mark_sent(
    session: aiohttp.ClientSession,  # noqa: ARG001 - the shape of a trace
    context: SimpleNamespace,
    parameters: aiohttp.TraceRequestHeadersSentParams,  # noqa: ARG001
) -> None:
    # Called when there is a connection, just before the first byte is written to it.
    progress: _Progress = context.trace_request_ctx
    if progress.is_check:
        progress.handover.stage = ASKING
    else:
        progress.handover.begin(POSTING)
