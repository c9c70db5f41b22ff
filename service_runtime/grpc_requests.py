"""The requests of a gRPC server: read when they are wanted, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from service_runtime import tracing
from service_runtime.call_limits import message_has_arrived, request_has_arrived
from service_runtime.caller import organisation_of_call
from service_runtime.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from service_runtime.call_limits import CallLimits

#: A request of more bytes needs room while it is held.
SMALL_BYTES = 64 * 1024
#: A request that takes longer to arrive needs room as well, seconds.
SLOW_SECONDS = 0.25
#: In so many seconds more it has arrived.
REQUEST_SECONDS = 30.0
#: How soon a call that nobody answers is reset by who does nothing else, seconds.
_RESET_SECONDS = 0.05


def refusing(deserialize: Any) -> Any:
    """Return a deserializer that takes bytes that are no message for the caller's mistake.

    Raises:
        InvalidRequestError: they are none.
    """

    def deserialized(data: bytes) -> Any:
        message_has_arrived()
        try:
            return deserialize(data) if deserialize else data
        except (DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequestError(
                "the bytes are no message of the type that this call takes"
            ) from error

    return deserialized


def reading(behaviour: Any, deserialize: Any, limits: CallLimits) -> Any:
    """Return a handler that reads the bytes of its one request.

    gRPC would read them before it calls what is wrapped, and answer UNKNOWN by itself.
    """

    async def read(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        with contextlib.ExitStack() as held:
            data = await _request_of(context, limits, held)
            request_has_arrived()
            request = deserialize(data)
            del data
            tracing.note_request(request)
            return await behaviour(request, context)

    return read


async def _request_of(
    context: grpc.aio.ServicerContext[Any, Any], limits: CallLimits, held: contextlib.ExitStack
) -> bytes:
    """Return the bytes of the one request of a call.

    Args:
        context: the call.
        limits: bound the requests that are held at once.
        held: has the room of a request that needs it.

    Raises:
        InvalidRequestError: it has none, or it does not arrive.
        TooManyCallsError: it is large, or slow to arrive, and too many of them are held.
    """
    caller = organisation_of_call(), context.peer()
    room = limits.room_for_request(*caller)
    reading = asyncio.ensure_future(context.read())
    slow = False
    try:
        slow = not (await asyncio.wait([reading], timeout=SLOW_SECONDS))[0]
        if slow:
            held.enter_context(room)
            await asyncio.wait([reading], timeout=REQUEST_SECONDS)
        if not reading.done():
            raise InvalidRequestError(
                f"the request did not arrive within {REQUEST_SECONDS:g} s; send it again"
            )
        data = reading.result()
    finally:
        reading.add_done_callback(_retrieved)
        reading.cancel()
    if data is grpc.aio.EOF:
        raise InvalidRequestError("the call has no request; send one message")
    if len(data) <= SMALL_BYTES:
        held.close()
    elif not slow:
        held.enter_context(room)
    return bytes(data)


class MethodNotFoundError(ServiceError):
    """The service has no such method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "METHOD_NOT_FOUND"

    def __init__(self, method: str) -> None:
        super().__init__(
            f"this service has no method {method}; compare its address and its version with"
            " what the client was made for",
            metadata={"method": method},
        )


def missing(method: str, limits: CallLimits) -> Any:
    """Return what refuses the calls of a method that the service does not have.

    gRPC would answer by itself, also who has reset the call; that costs a little memory for
    ever (https://github.com/grpc/grpc/issues/43360). So who does it again and again is
    noticed here as well.
    """

    async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        with limits.held("", context.peer(), lasting=False):
            await asyncio.sleep(_RESET_SECONDS)
        raise MethodNotFoundError(method)

    return refuse


def _retrieved(reading: asyncio.Future[Any]) -> None:
    """Note that nobody needs the failure of a read: its caller has gone."""
    if not reading.cancelled():
        reading.exception()
