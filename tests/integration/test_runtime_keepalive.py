"""Idle connections: the pings that keep them open, and those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from closeout.connection import CHANNEL_OPTIONS
from service_runtime.access import EverybodyAccess
from service_runtime.grpc_server import KEEPALIVE, Keepalive, Server

_PATIENCE_SECONDS = 30.0
#: How often the client pings; gRPC takes no shorter time, milliseconds.
_PING_MILLISECONDS = 1_000
#: A machine under load answers within this time, and a server that vanished never does,
#: milliseconds.
_ANSWER_MILLISECONDS = 5_000
#: So many pings, each of them too early, would have ended the connection twice over.
_PINGS = 6
#: More than a connection on which nothing is said may send, unless it is set up for it.
_MORE_PINGS_THAN_USUAL = 3
#: The options of our own clients, but for the times.
_CLIENT_OPTIONS = dict(CHANNEL_OPTIONS) | {
    "grpc.keepalive_time_ms": _PING_MILLISECONDS,
    **{
        name: _ANSWER_MILLISECONDS
        for name, _ in CHANNEL_OPTIONS
        if name in {"grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms"}
    },
}
#: More steps of the loop than a connection takes from being accepted to its handler.
_ACCEPTING_STEPS = 10
_PREFACE_BYTES = 24
_FRAME_HEADER_BYTES = 9
_PING_TYPE = 6
_ACK_FLAG = 1


class _Wire:
    """A way to a server that counts the pings of the client.

    Attributes:
        address: what the client connects to.
        pings: how many pings the client sent, answers to the server's apart.
        silent: nothing goes to the client any more, as if the server had vanished.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.pings = 0
        self.silent = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Carry connections until the block ends."""
        listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            # A listener that is closed first lets go of nothing that it has just accepted.
            for listening in listener.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            for _ in range(_ACCEPTING_STEPS):
                await asyncio.sleep(0)
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # the connections are closed in the next step

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            # Also where it was cancelled before it began, or a connection broke.
            writer.close()
            if not task.cancelled():
                task.exception()

        task = asyncio.create_task(self._carry(reader, writer))
        task.add_done_callback(ended)
        self._tasks.add(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, onward_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry_frames(reader, onward_writer))
                both.create_task(self._carry_bytes(onward, writer))
        finally:
            onward_writer.close()

    async def _carry_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(await reader.readexactly(_PREFACE_BYTES))
        while True:
            header = await reader.readexactly(_FRAME_HEADER_BYTES)
            writer.write(header + await reader.readexactly(int.from_bytes(header[:3], "big")))
            self.pings += header[3] == _PING_TYPE and not header[4] & _ACK_FLAG

    async def _carry_bytes(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65_536):
            if not self.silent:
                writer.write(data)


@asynccontextmanager
async def _idle_stream(keepalive: Keepalive) -> AsyncIterator[tuple[_Wire, asyncio.Task[object]]]:
    """Open a stream through a wire; its task ends with the next message or the stream's end."""
    server = Server([], lambda _: None, access=EverybodyAccess(), scopes={}, keepalive=keepalive)
    wire = _Wire(await server.start("127.0.0.1:0"))
    try:
        async with (
            wire.open(),
            grpc.aio.insecure_channel(
                wire.address, options=list(_CLIENT_OPTIONS.items())
            ) as channel,
            asyncio.timeout(_PATIENCE_SECONDS),
        ):
            call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await call.read()
            following = asyncio.ensure_future(call.read())
            try:
                yield wire, following
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                call.cancel()
    finally:
        await server.stop(0)


async def test_an_idle_stream_outlives_any_number_of_pings() -> None:
    """A client that pings no more often than it may keeps a stream on which nothing is said."""
    allowed = Keepalive(client_interval_seconds=_PING_MILLISECONDS / 10_000)
    async with _idle_stream(allowed) as (wire, following):
        while wire.pings < _PINGS and not following.done():
            await asyncio.wait([following], timeout=0.05)
        assert not following.done(), following.result()


async def test_an_idle_stream_notices_a_server_that_vanished() -> None:
    """However long nothing was said: the pings go on, and one without an answer ends it."""
    allowed = Keepalive(client_interval_seconds=_PING_MILLISECONDS / 10_000)
    async with _idle_stream(allowed) as (wire, following):
        while wire.pings < _MORE_PINGS_THAN_USUAL and not following.done():
            await asyncio.wait([following], timeout=0.05)
        wire.silent = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await following
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_pings_too_often_is_cut_off() -> None:
    """What a server allows is what it enforces, or the test above would show nothing."""
    assert KEEPALIVE.client_interval_seconds * 1_000 > _PING_MILLISECONDS
    async with _idle_stream(KEEPALIVE) as (wire, following):
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)too.many.pings") as caught:
            await following
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert wire.pings < _PINGS
