"""Callers that hang up while they are answered: an ordinary end, no defect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from service_runtime.access import OPEN, EverybodyAccess
from service_runtime.errors import InvalidRequestError
from service_runtime.grpc_server import MAX_MESSAGE_BYTES, Server

_PATIENCE_SECONDS = 30.0
_CALLERS = 100
#: More than a caller takes before it reads: the write waits.
_RESPONSE = b"x" * 500_000
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    # Without it a fast connection takes ever more before it is read.
    ("grpc.http2.bdp_probe", 0),
]


class _Streams:
    """Handlers whose responses nobody reads.

    Attributes:
        begun: how many responses were begun.
        ended: how many calls are over, and what is logged of them is logged.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    def _begin(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        context.add_done_callback(self._end)

    def _end(self, _: Any) -> None:
        self.ended += 1

    async def generate(
        self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """Answer as a generator."""
        self._begin(context)
        while True:
            self.begun += 1
            yield _RESPONSE

    async def write(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Answer by writing."""
        self._begin(context)
        while True:
            self.begun += 1
            await context.write(_RESPONSE)

    async def refuse(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Refuse the call at the moment in which its caller hangs up."""
        self._begin(context)
        try:
            while True:
                self.begun += 1
                await context.write(_RESPONSE)
        except grpc.aio.InternalError as error:
            raise InvalidRequestError("refused") from error

    async def fail_inside(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Fail as a write does, while the caller waits."""
        self._begin(context)
        raise grpc.aio.InternalError("a call of this handler's own failed")

    async def write_too_much(
        self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        """Write a response that is too large to be sent."""
        self._begin(context)
        await context.write(b"x" * (MAX_MESSAGE_BYTES + 1))


@asynccontextmanager
async def _serving(behaviour: Any) -> AsyncIterator[str]:
    """Serve one streaming method; yield the address."""
    handler = grpc.unary_stream_rpc_method_handler(behaviour)
    generic = grpc.method_handlers_generic_handler("test.Streams", {"Stream": handler})
    server = Server(
        [],
        lambda made: made.add_generic_rpc_handlers((generic,)),
        access=EverybodyAccess(),
        scopes={"/test.Streams/Stream": OPEN},
    )
    port = await server.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


async def _until_all_wait(streams: _Streams) -> None:
    """Wait until every call has begun and none gets on."""
    await _until(lambda: streams.begun >= _CALLERS)
    before, same = streams.begun, 0

    def unchanged() -> bool:
        nonlocal before, same
        same = same + 1 if streams.begun == before else 0
        before = streams.begun
        return same >= 20

    await _until(unchanged)


@pytest.mark.parametrize("way", ["generate", "write", "refuse"])
async def test_s15_callers_that_hang_up_while_a_response_waits_are_no_defect(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever hangs up while the answer waits for room leaves no line of an error behind."""
    streams = _Streams()
    async with _serving(getattr(streams, way)) as address:
        with capture_logs() as logs, caplog.at_level(logging.ERROR):
            async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
                method = channel.unary_stream("/test.Streams/Stream")
                calls = [method(b"") for _ in range(_CALLERS)]
                await _until_all_wait(streams)
                for call in calls:
                    call.cancel()
                await _until(lambda: streams.ended == _CALLERS)
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("way", ["fail_inside", "write_too_much"])
async def test_s15_what_fails_while_the_caller_waits_is_a_defect(way: str) -> None:
    """What is not the caller's doing is logged, and the caller gets its error id."""
    streams = _Streams()
    async with _serving(getattr(streams, way)) as address:
        with capture_logs() as logs:
            async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
                call = channel.unary_stream("/test.Streams/Stream")(b"")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    async for _ in call:
                        pass
            await _until(lambda: streams.ended == 1)
    (failed,) = [line for line in logs if line["event"] == "call_failed"]
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert failed["error_id"] in str(caught.value.details())
