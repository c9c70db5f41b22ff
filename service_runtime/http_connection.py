"""One connection of the HTTP server: how long it may take to say what it wants."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service_runtime.errors import InvalidRequestError
from service_runtime.http_errors import TooManyConnectionsError, error_response

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

#: In so many seconds the head of a request has arrived, from its first byte, or from the
#: beginning of the connection.
HEAD_SECONDS = 30.0
#: A connection is closed when its client takes nothing of what was sent for so long, seconds.
UNREAD_SECONDS = 60.0
#: So many connections below the limit of the server, idle ones are closed for new ones.
_ROOM = 10


class Connection(H11Protocol):
    """A connection that does not wait for ever for the head of a request.

    What its client does not read is bounded, and the server waits with the rest; an
    idle connection is closed by uvicorn, or earlier where new ones need its place.
    """

    _head_timer: asyncio.TimerHandle | None = None
    #: Since when it waits for a request, on the clock of the event loop.
    idle_since = 0.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn would refuse what is too much in a text of its own.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._served, self.app = self.app, self._limited

    async def _limited(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it in the form of all errors where there are too many."""
        most = self._most
        if most is None or (len(self.connections) < most and len(self.tasks) <= most):
            await self._served(scope, receive, send)
            return
        refused = error_response(TooManyConnectionsError(most))
        refused.headers["connection"] = "close"
        await refused(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._wait_for_head()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self.is_between_requests() and self._head_timer is None:
            self._wait_for_head()
        super().data_received(data)
        if not self.is_between_requests():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Go on with the next request, a part of which may have come already."""
        super().on_response_complete()
        self.idle_since = self.loop.time()
        if self.is_between_requests() and self.conn.trailing_data[0]:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of all errors."""
        refused = error_response(InvalidRequestError(f"no HTTP that is taken: {msg}"))
        headers = [*refused.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(refused.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _make_room(self) -> None:
        """Close what waits longest for a request, where connections run out."""
        limit = self._most
        if limit is None or len(self.connections) < limit - _ROOM:
            return
        alive = [
            each
            for each in self.connections
            if isinstance(each, Connection) and not each.transport.is_closing()
        ]
        idle = [each for each in alive if each is not self and each.is_between_requests()]
        if idle and len(alive) >= limit - _ROOM:
            min(idle, key=lambda each: each.idle_since).timeout_keep_alive_handler()

    def is_between_requests(self) -> bool:
        """Return whether it has nothing to answer now."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self.is_between_requests():
            self.timeout_keep_alive_handler()


def bound_unread(listener: socket.socket) -> None:
    """Have the system close connections of ``listener`` that nobody reads, where it can."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNREAD_SECONDS * 1_000)
        )
