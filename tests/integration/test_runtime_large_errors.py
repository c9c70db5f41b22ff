"""Errors that repeat what a caller sent: the caller gets them, however long that was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from service_runtime.access import OPEN, EverybodyAccess
from service_runtime.errors import InvalidRequestError, ServiceError
from service_runtime.grpc_server import Server

_LONG = 20_000


class _MissingError(ServiceError):
    """What a caller names is not there."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "CAMPAIGN_NOT_FOUND"


async def _find(name: bytes, _: Any) -> bytes:
    raise _MissingError(f"no {name.decode()!r}", metadata={"name": name.decode()})


async def _check(name: bytes, _: Any) -> bytes:
    raise InvalidRequestError.of(
        {f"items[{n}]": f"{name.decode()!r} is wrong" for n in range(1_000)}
    )


_HANDLERS = {
    "Find": grpc.unary_unary_rpc_method_handler(_find),
    "Check": grpc.unary_unary_rpc_method_handler(_check),
}


@asynccontextmanager
async def _channel() -> AsyncIterator[grpc.aio.Channel]:
    generic = grpc.method_handlers_generic_handler("test.Errors", _HANDLERS)
    server = Server(
        [],
        lambda made: made.add_generic_rpc_handlers((generic,)),
        access=EverybodyAccess(),
        scopes={f"/test.Errors/{name}": OPEN for name in _HANDLERS},
    )
    port = await server.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


async def _failure(method: str, name: str) -> tuple[grpc.aio.AioRpcError, list[Any]]:
    """Call a method that fails; return the error, and ErrorInfo and BadRequest of its status."""
    async with _channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/test.Errors/{method}")(name.encode(), timeout=30)
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    details: list[Any] = []
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest)
    for packed, kind in zip(status.details, kinds, strict=False):
        details.append(kind())
        assert packed.Unpack(details[-1])
    return caught.value, details


@pytest.mark.parametrize("letter", ["x", "%", "中"])
async def test_a_long_value_comes_back_cut(letter: str) -> None:
    """The code, the reason and the beginning of a long value reach the caller."""
    error, (info,) = await _failure("Find", letter * _LONG)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert info.reason == "CAMPAIGN_NOT_FOUND"
    assert info.metadata["name"].startswith(letter * 100)
    assert info.metadata["name"].endswith("…")
    assert str(error.details()).startswith(f"no '{letter * 100}")
    assert str(error.details()).endswith("…")


@pytest.mark.parametrize("name", ["a", "x" * _LONG], ids=["short", "long"])
async def test_a_thousand_violations_come_back_as_a_few(name: str) -> None:
    """The code, the reason and the first violations reach the caller, and how many more."""
    error, (info, request) = await _failure("Check", name)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info.reason == "INVALID_REQUEST"
    *shown, last = request.field_violations
    assert 1 <= len(shown) <= 20
    assert [violation.field for violation in shown] == [f"items[{n}]" for n in range(len(shown))]
    assert (last.field, last.description) == ("", f"and {1_000 - len(shown)} more")
