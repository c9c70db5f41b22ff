"""Bytes that are no message: the caller's mistake, in every kind of call."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_status import rpc_status
from structlog.testing import capture_logs

from service_runtime.access import OPEN, EverybodyAccess
from service_runtime.errors import DOMAIN
from service_runtime.grpc_server import Server

_GOOD = HealthCheckRequest(service="a").SerializeToString()
_BAD = {
    "junk": b"\xff\xfe\xfd\xfc",
    "truncated": HealthCheckRequest(service="a" * 100).SerializeToString()[:50],
    "no-utf-8": b"\x0a\x02\xc3\x28",
    "surrogate": b"\x0a\x03\xed\xa0\x80",
}


async def _answer(request: HealthCheckRequest, _: Any) -> bytes:
    return request.service.encode()


async def _answers(request: HealthCheckRequest, _: Any) -> AsyncIterator[bytes]:
    yield request.service.encode()


async def _answer_all(requests: AsyncIterator[HealthCheckRequest], _: Any) -> bytes:
    return b"".join([request.service.encode() async for request in requests])


async def _answer_each(requests: AsyncIterator[HealthCheckRequest], _: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.service.encode()


async def _write_each(_: Any, context: grpc.aio.ServicerContext[Any, bytes]) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request.service.encode())


_HANDLERS = {
    "unary_unary": grpc.unary_unary_rpc_method_handler(_answer, HealthCheckRequest.FromString),
    "unary_stream": grpc.unary_stream_rpc_method_handler(_answers, HealthCheckRequest.FromString),
    "stream_unary": grpc.stream_unary_rpc_method_handler(
        _answer_all, HealthCheckRequest.FromString
    ),
    "stream_stream": grpc.stream_stream_rpc_method_handler(
        _answer_each, HealthCheckRequest.FromString
    ),
    "stream_stream_read": grpc.stream_stream_rpc_method_handler(
        _write_each, HealthCheckRequest.FromString
    ),
}


@asynccontextmanager
async def _channel() -> AsyncIterator[grpc.aio.Channel]:
    """Serve a method of each kind; yield a channel to them."""
    generic = grpc.method_handlers_generic_handler("test.Kinds", _HANDLERS)
    server = Server(
        [],
        lambda made: made.add_generic_rpc_handlers((generic,)),
        access=EverybodyAccess(),
        scopes={f"/test.Kinds/{name}": OPEN for name in _HANDLERS},
    )
    port = await server.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


async def _call(channel: grpc.aio.Channel, kind: str, *requests: bytes) -> list[bytes]:
    """Call a method with these bytes; return all that it answers."""

    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            yield request

    requested, answered = kind.split("_")[:2]
    multicallable: Any = getattr(channel, f"{requested}_{answered}")(f"/test.Kinds/{kind}")
    call = multicallable(sent() if requested == "stream" else requests[-1], timeout=30)
    return [answer async for answer in call] if answered == "stream" else [await call]


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


@pytest.mark.parametrize("kind", _HANDLERS)
@pytest.mark.parametrize("bad", _BAD.values(), ids=_BAD)
async def test_bytes_that_are_no_message_are_an_invalid_request(
    kind: str, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets INVALID_ARGUMENT with its reason, and no line of an error is logged."""
    with capture_logs() as logs, caplog.at_level(logging.ERROR):
        async with _channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _call(channel, kind, _GOOD, bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = _info(caught.value)
    assert (info.reason, info.domain) == ("INVALID_REQUEST", DOMAIN)
    assert logs == []
    assert caplog.records == []


@pytest.mark.parametrize("kind", _HANDLERS)
async def test_a_message_is_read_as_ever(kind: str) -> None:
    """What is a message reaches its handler, and the answers come back, in all kinds of calls."""
    async with _channel() as channel:
        assert b"".join(await _call(channel, kind, _GOOD)) == b"a"
        assert b"".join(await _call(channel, kind, b"")) == b""


async def test_a_method_that_is_not_there_is_refused_with_a_reason() -> None:
    """As by gRPC itself, with the words and the details of all other refusals."""
    async with _channel() as channel:
        call = channel.unary_unary("/test.Kinds/other")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(_GOOD, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "/test.Kinds/other" in (caught.value.details() or "")
    info = _info(caught.value)
    assert (info.reason, info.domain) == ("METHOD_NOT_FOUND", DOMAIN)
    assert info.metadata == {"method": "/test.Kinds/other"}
