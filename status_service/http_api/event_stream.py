"""A server stream as server-sent events: one event for each message, until it ends."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service_runtime.errors import ServiceError
from service_runtime.http_errors import JSON_HEADERS, error_json, error_response, unexpected
from status_service.http_api.calls import Call, HttpContext, message_of
from status_service.http_api.conditions import etag_of
from status_service.http_api.json_form import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

#: After so many silent seconds a comment says that the stream is alive.
ALIVE_SECONDS = 15.0
#: A stream whose first message is its last has ended after so many seconds.
_LAST_MESSAGE_SECONDS = 0.25
_ALIVE = b": still watching\n\n"
#: How long a browser waits before it comes back, milliseconds.
_RETRY_MILLISECONDS = 2_000
_HEADERS = {
    **JSON_HEADERS,
    "content-type": "text/event-stream; charset=utf-8",
    # A proxy of nginx would keep events until it has many.
    "x-accel-buffering": "no",
}


class _HangUp(Exception):  # noqa: N818 - no failure
    """The client went away, or has all that it came for."""


class EventStream:
    """Answers one request with events.

    The next message is made only once the client has room for it, so one that reads
    slowly skips snapshots, and one that does not read at all holds one of them.

    Args:
        call: what is called.
        variables: of the path.
        alive_seconds: after so many silent seconds a comment is sent.
    """

    def __init__(
        self, call: Call, variables: Mapping[str, str], *, alive_seconds: float = ALIVE_SECONDS
    ) -> None:
        self._call = call
        self._variables = variables
        self._alive_seconds = alive_seconds

    async def __call__(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the stream ends, the client goes away or its key is gone."""
        events = _Events(request, send)
        context = _StreamContext(request, events)
        taken = (request, self._call, self._variables)
        work = asyncio.ensure_future(self._call.behaviour(taken, context))
        others = [
            asyncio.create_task(_until_gone(context.taken, receive)),
            asyncio.create_task(events.keep_alive(self._alive_seconds)),
        ]
        try:
            await asyncio.wait({work, *others}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return  # nobody reads it
            for task in others:
                task.cancel()
            error = self._failure(work)
            if events.started:
                await events.end(error)
            elif error is not None:
                await error_response(error)(scope, receive, send)
            else:  # the client has the last event: a browser does not come back after this
                await Response(status_code=204, headers=JSON_HEADERS)(scope, receive, send)
        finally:
            for task in (work, *others):
                task.cancel()
            await asyncio.gather(work, *others, return_exceptions=True)

    def _failure(self, work: asyncio.Future[None]) -> ServiceError | None:
        """Return how a stream failed, or None if it came to its end."""
        error = work.exception()
        if error is None or isinstance(error, _HangUp | ClientDisconnect):
            return None
        if isinstance(error, ServiceError):
            return error
        if not isinstance(error, Exception):
            raise error
        return unexpected(error, self._call.rule.full_method)


def streaming(generate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return what writes to its context whatever a method of a servicer yields."""

    async def write(taken: Any, context: _StreamContext) -> None:
        with ExitStack() as held:
            message = await message_of(*taken, held=held)
        context.taken.set()
        with suppress(_HangUp):
            async with aclosing(generate(message, context)) as responses:
                async for response in responses:
                    await context.write(response)

    return write


class _StreamContext(HttpContext):
    """A context that takes messages."""

    def __init__(self, request: Request, events: _Events) -> None:
        super().__init__(request)
        self._events = events
        #: Set once the request was read.
        self.taken = asyncio.Event()

    async def write(self, message: Message) -> None:
        """Send a message; return once the client has room for the next one."""
        await self._events.write(message)


class _Events:
    """The events of one answer, written one after the other."""

    def __init__(self, request: Request, send: Send) -> None:
        self._send = send
        self._bodiless = request.method == "HEAD"
        self._last = request.headers.get("last-event-id", "")
        self._turn = asyncio.Lock()
        self._first = asyncio.Event()
        #: Whether the answer has begun.
        self.started = False

    async def write(self, message: Message) -> None:
        """Send a message, unless it is the one that the client has already."""
        number = etag_of(message).strip('"')
        known, self._last = self._last, ""
        self._first.set()
        if known and known == number and not self._bodiless:
            return
        head = f"id: {number}\n" if number else ""
        await self._put(head.encode() + b"data: " + to_json(message) + b"\n\n")
        if self._bodiless:
            raise _HangUp

    async def keep_alive(self, seconds: float) -> None:
        """Send a comment now and then, once the first message is known."""
        await self._first.wait()
        # A client that has that message learns now that more can come, unless it was the last.
        await asyncio.sleep(min(seconds, _LAST_MESSAGE_SECONDS))
        if not self.started:
            await self._put(_ALIVE)
        while True:
            await asyncio.sleep(seconds)
            await self._put(_ALIVE)

    async def end(self, error: ServiceError | None) -> None:
        """End the answer, with an event if it failed."""
        last = b""
        if error is not None and not self._bodiless:
            form = json.dumps(error_json(error), separators=(",", ":"))
            last = f"event: error\ndata: {form}\n\n".encode()
        async with self._turn:
            await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _put(self, event: bytes) -> None:
        async with self._turn:
            if not self.started:
                headers = [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
                event = f"retry: {_RETRY_MILLISECONDS}\n\n".encode() + event
            if not self._bodiless:
                await self._send({"type": "http.response.body", "body": event, "more_body": True})


async def _until_gone(taken: asyncio.Event, receive: Receive) -> None:
    """Return once the client has gone away."""
    await taken.wait()  # until then the request itself is read
    while (await receive())["type"] != "http.disconnect":
        pass
