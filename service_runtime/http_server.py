"""The HTTP server both services run beside gRPC, in the same process and event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from service_runtime import port_holder
from service_runtime.errors import StartupError
from service_runtime.http_connection import Connection, bound_unread

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Generator

    from starlette.types import ASGIApp

    from service_runtime.grace import Grace
    from service_runtime.grpc_server import Server

#: Connections that may wait to be accepted.
_BACKLOG = 256
#: Requests and streams at once; more are answered 503.
MAX_CONNECTIONS = 1_000
#: How long an idle connection is kept, seconds.
_KEEP_ALIVE_SECONDS = 75
#: How long the handshake of TLS may take, seconds.
HANDSHAKE_SECONDS = 10.0
#: How long after the start a socket may take until it serves, seconds.
_START_SECONDS = 30.0
#: How often the header Date is brought up to date, seconds.
_DATE_SECONDS = 1.0
#: Seconds between two looks at connections that are to end.
_BETWEEN_LOOKS_SECONDS = 0.01


class _Server(uvicorn.Server):
    """A server that leaves signals to :mod:`.process`, and says when it listens.

    uvicorn looks ten times a second whether it is to end, and then waits as long once more;
    this server ends at once.
    """

    def __init__(
        self, config: uvicorn.Config, grace: Grace, *, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._grace = grace
        self.listening = asyncio.Event()
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn itself gives the handshake of TLS a minute."""
        await super().startup([])
        loop = asyncio.get_running_loop()
        for listener in sockets or ():
            self.servers.append(
                await loop.create_server(
                    self._connection,
                    sock=listener,
                    ssl=self._tls,
                    backlog=_BACKLOG,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
                )
            )
        self.listening.set()

    def _connection(self) -> asyncio.Protocol:
        return Connection(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def end(self) -> None:
        """Take no new request, and end when the running ones have."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Keep the header Date true until :meth:`end`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _DATE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle, give running requests their grace, and cut the rest."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self._grace.left):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn signals neither
                    await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
                for server in self.servers:
                    await server.wait_closed()
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel("the time of grace is over")


@contextlib.asynccontextmanager
async def serving_http(
    app: ASGIApp, address: str, *, grace: Grace, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve ``app`` on HOST:PORT while the block runs; yield the port.

    At the end no new request is taken, running ones get what is left of ``grace``, the rest
    is cut.

    Raises:
        StartupError: the address can't be listened on; the text says who holds it.
    """
    listener = await asyncio.to_thread(_listener, address)
    config = uvicorn.Config(
        app,
        http=Connection,
        # Of requests on one connection, none begins with the caller of the one before.
        reset_contextvars=True,
        lifespan="off",
        # Its warnings are about requests of others: anybody could fill the log with them.
        log_level="error",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        backlog=_BACKLOG,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # Who called is what the connection says, not what a header claims.
        proxy_headers=False,
    )
    config.load()
    server = _Server(config, grace, tls=tls)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        async with asyncio.timeout(_START_SECONDS):
            await server.listening.wait()
        yield listener.getsockname()[1]
    finally:
        grace.begin()
        server.end()
        await task


@contextlib.asynccontextmanager
async def optional_http(
    app: ASGIApp,
    address: str,
    *,
    beside: Server,
    grace: Grace,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve ``app`` as :func:`serving_http` does, or nowhere if ``address`` is empty.

    Yields HOST:PORT, or nothing where HTTP is off.

    Args:
        app: what is served.
        address: HOST:PORT; empty: HTTP is off.
        beside: the server of gRPC, which is stopped if HTTP can't listen.
        grace: as of :func:`serving_http`.
        tls: as of :func:`serving_http`.

    Raises:
        StartupError: the address can't be listened on; the text says who holds it.
    """
    if not address:
        yield ""
        return
    async with contextlib.AsyncExitStack() as stack:
        serving = serving_http(app, address, grace=grace, tls=tls)
        try:
            port = await stack.enter_async_context(serving)
        except StartupError:
            await beside.stop(0)
            raise
        yield f"{address.rpartition(':')[0]}:{port}"


def _listener(address: str) -> socket.socket:
    """Return a socket that listens on HOST:PORT."""
    if found := port_holder.obstacle(address):
        raise StartupError(found)
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        bound_unread(listener)
    except OSError as error:
        raise StartupError(port_holder.describe(address, error)) from error
    listener.setblocking(False)  # noqa: FBT003 - has no name
    return listener
