"""One try to deliver one event over HTTP."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from opentelemetry.trace import SpanKind, Status, StatusCode

from service_runtime import tracing
from status_service.events import signature
from status_service.events.answer import TIMEOUT_SECONDS, Answer
from status_service.events.cloud_event import CONTENT_TYPE
from status_service.events.destination import fault
from status_service.events.resolver import CheckedResolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

#: Connections at once, to all receivers.
MOST_CONNECTIONS = 128
#: How long the text of an answer may take, whose status is known already, seconds.
_TEXT_SECONDS = 2.0
#: As much of an answer is read and kept, bytes.
_ANSWER_BYTES = 500
_AGENT = f"Closeout/{importlib.metadata.version('closeout-server')}"
_SUCCESSES = range(200, 300)
_REDIRECTS = range(300, 400)


class HttpCourier:
    """Delivers events; make it by :func:`http_courier`.

    Args:
        client: follows no redirect and keeps no cookie.
        allow_private: whether receivers of private networks are allowed.
        timeout_seconds: how long one may take.
    """

    def __init__(
        self, client: aiohttp.ClientSession, *, allow_private: bool, timeout_seconds: float
    ) -> None:
        self._client = client
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds

    async def deliver(self, url: str, secret: str, *, event_id: str, body: str) -> Answer:
        """Try once; whatever fails is an answer."""
        if text := fault(url, allow_private=self._allow_private):
            return Answer(delivered=False, text=text)  # allowed once, and not any more
        data = body.encode()
        headers = signature.headers(
            secret, event_id=event_id, timestamp=int(time.time()), body=data
        )
        with _span(url, event_id) as span:
            answer = await self._post(url, data, headers, span)
            if not answer.delivered:
                span.set_status(Status(StatusCode.ERROR))
        return answer

    async def _post(self, url: str, data: bytes, headers: Mapping[str, str], span: Span) -> Answer:
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.post(
                    url,
                    data=data,
                    headers={**headers, "content-type": CONTENT_TYPE, "user-agent": _AGENT},
                    allow_redirects=False,
                ) as response,
            ):
                span.set_attribute("http.response.status_code", response.status)
                said = await _said(response)
                return _answer(response.status, said, response.headers.get("retry-after", ""))
        except TimeoutError:
            text = f"no answer within {self._timeout_seconds:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = str(error) or type(error).__name__
        return Answer(delivered=False, text=_clean(text))


async def _said(response: aiohttp.ClientResponse) -> bytes:
    """Return how the text of an answer begins; whatever becomes of it, the status counts."""
    try:
        async with asyncio.timeout(_TEXT_SECONDS):
            return await response.content.read(_ANSWER_BYTES)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        return f"({type(error).__name__} after the status)".encode()


def _clean(text: str) -> str:
    """Return a text that every database stores and every terminal shows."""
    shown = "".join(mark if mark.isprintable() else " " for mark in text[:_ANSWER_BYTES])
    return shown.strip().encode()[:_ANSWER_BYTES].decode(errors="ignore")


def _span(url: str, event_id: str) -> AbstractContextManager[Span]:
    """Return the span of a try: of the URL it has the host alone, as the rest may be a secret."""
    attributes = {
        "http.request.method": "POST",
        "server.address": urlsplit(url).hostname or "",
        "closeout.event_id": event_id,
    }
    return tracing.span("POST", kind=SpanKind.CLIENT, attributes=attributes)


def _answer(status: int, said: bytes, retry_after: str) -> Answer:
    text = f"{status} {_clean(said.decode(errors='replace'))}".strip()
    if status in _REDIRECTS:
        text = f"{text[:100]} (redirects are not followed: subscribe with the URL itself)"
    delivered = status in _SUCCESSES
    return Answer(delivered, _clean(text), None if delivered else _asked(retry_after))


def _asked(retry_after: str) -> timedelta | None:
    """Return what a Retry-After asks for, in seconds or as a date; None if it is neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return timedelta(seconds=min(int(retry_after[:9]), 1_000_000))
    try:
        moment = parsedate_to_datetime(retry_after)
        return max(timedelta(0), timedelta(seconds=moment.timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


@asynccontextmanager
async def http_courier(
    *, allow_private: bool, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[HttpCourier]:
    """Yield a courier; its connections end with the block."""
    connector = aiohttp.TCPConnector(
        limit=MOST_CONNECTIONS,
        resolver=CheckedResolver(allow_private=allow_private),
        use_dns_cache=False,
        # A connection that is kept would be one whose address was checked long ago.
        force_close=True,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    ) as client:
        yield HttpCourier(client, allow_private=allow_private, timeout_seconds=timeout_seconds)
