"""One call over HTTP: the request becomes a message, a servicer of gRPC answers it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service_runtime import tracing
from service_runtime.call_limits import request_has_arrived
from service_runtime.caller import organisation_of_call
from service_runtime.errors import InvalidRequestError, ServiceError
from service_runtime.grpc_requests import SMALL_BYTES
from service_runtime.grpc_server import MAX_MESSAGE_BYTES
from service_runtime.http_access import peer_of
from service_runtime.http_errors import (
    JSON_HEADERS,
    BodyTooLargeError,
    BodyTooSlowError,
    ConditionFailedError,
    ForeignOriginError,
    MediaTypeError,
    error_response,
    unexpected,
)
from status_service.http_api.conditions import REVISION, etag_of, expected_revision, is_known
from status_service.http_api.json_form import read_object, to_json, to_message
from status_service.http_api.query import message_of_query, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from service_runtime.call_limits import CallLimits
    from status_service.http_api.rules import Rule

#: Methods that change nothing.
READING = {"GET", "HEAD"}
#: In so many seconds a body has arrived.
BODY_SECONDS = 30.0
_JSON = "application/json"
#: So much of a body that is too large is read and thrown away.
_MOST_DISCARDED_BYTES = 4 * MAX_MESSAGE_BYTES
#: JSON of more bytes is read and written beside the event loop.
_LARGE_BYTES = 64 * 1024
#: One after the other: threads that convert at once take the processor from the event loop.
_CONVERTER = ThreadPoolExecutor(1, thread_name_prefix="json")
#: What a servicer does, behind the check of its caller: it takes a request and a context.
Behaviour: TypeAlias = "Callable[[Any, Any], Any]"


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule calls.

    Attributes:
        rule: the rule.
        request: the message that it takes.
        behaviour: what takes it, behind the check of its caller: see :mod:`.transcoder`.
        limits: bound the bodies that are held at once.
    """

    rule: Rule
    request: Descriptor
    behaviour: Behaviour
    limits: CallLimits


class HttpContext:
    """What a servicer, and the check of its caller, learn of an HTTP request.

    It stands for the context of gRPC: headers are the metadata.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the headers, with names in lower case."""
        return tuple(self._request.headers.items())

    def peer(self) -> str:
        """Return where the request comes from, as gRPC writes it."""
        return peer_of(self._request)


class UnaryCall:
    """Answers one request with one message.

    Args:
        call: what is called.
        variables: of the path.
    """

    def __init__(self, call: Call, variables: Mapping[str, str]) -> None:
        self._call = call
        self._variables = variables

    async def __call__(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; what fails is answered as well."""
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return  # nobody reads the answer, and nothing was begun
        except ServiceError as error:
            answer = error_response(_as_condition(error, request))
        except Exception as error:  # noqa: BLE001 - mapped, logged, sent
            answer = error_response(unexpected(error, self._call.rule.full_method))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # The caller is checked first: nobody unknown makes this service read a body.
        taken = (request, self._call, self._variables)
        response = await self._call.behaviour(taken, HttpContext(request))
        headers = dict(JSON_HEADERS)
        if etag := etag_of(response):
            headers["etag"] = etag
        if request.method in READING and is_known(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        body = await _converted(response.ByteSize(), lambda: to_json(response))
        return Response(body, 200, headers, media_type=_JSON)


async def message_of(
    request: Request, call: Call, variables: Mapping[str, str], *, held: ExitStack
) -> Message:
    """Return the message that a request is.

    Args:
        request: what came.
        call: what it calls.
        variables: of the path.
        held: has the room for a large body, until the call is answered.

    Raises:
        TooManyCallsError: too many large bodies are held.
        InvalidRequestError: it is none; each wrong field is named.
        ClientDisconnect: the client went away before it was complete.
    """
    query = request.scope.get("query_string", b"")
    if call.rule.has_body:
        check_origin(request)
        if query:
            names = {
                name: unknown(name, "unknown parameter: use the body")
                for name in request.query_params
            }
            raise InvalidRequestError.of(names or {"query": "use the body"})
        room = call.limits.room_for_request(organisation_of_call(), peer_of(request))
        body = await _body(request, partial(held.enter_context, room))
        request_has_arrived()
        message: Any = await _converted(
            len(body), lambda: to_message(read_object(body), call.request)
        )
    else:
        message = message_of_query(query, call.request)
    for name, value in variables.items():
        if getattr(message, name) not in {"", value}:
            raise InvalidRequestError.of({name: f"the path has {value!r}; give it once"})
        setattr(message, name, value)
    _take_condition(request, message)
    tracing.note_request(message)
    return message  # type: ignore[no-any-return]


async def _converted(size: int, convert: Callable[[], Any]) -> Any:
    """Return what ``convert`` does; what is large does not hold up everybody else."""
    if size <= _LARGE_BYTES:
        return convert()
    return await asyncio.get_running_loop().run_in_executor(_CONVERTER, convert)


def check_origin(request: Request) -> None:
    """Refuse what a page of another origin would change.

    A browser sends such a request even where the page may not read its answer, and while
    no key exists nothing else would hold it back.

    Raises:
        ForeignOriginError: the request comes from such a page.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise ForeignOriginError(
            f"pages of {origin[:200]} may not call this service: it allows no other origin;"
            " call it from a server, or without the header Origin"
        )


def _take_condition(request: Request, message: Any) -> None:
    """Make If-Match the revision of a request that changes something."""
    if request.method in READING:
        return
    expected = expected_revision(request.headers.get("if-match", ""), message.DESCRIPTOR)
    if not expected:
        return
    if message.revision not in {0, expected}:
        raise InvalidRequestError.of({REVISION: "If-Match has another one; give it once"})
    message.revision = expected


async def _body(request: Request, hold: Callable[[], None]) -> bytes:
    """Return the body of a request, which is JSON and not too large.

    Args:
        request: the request.
        hold: takes room for a large body.

    Raises:
        HttpRefusalError: it is not.
    """
    kind = request.headers.get("content-type", "")
    if kind and kind.partition(";")[0].strip().lower() != _JSON:
        raise MediaTypeError(
            f"the body is {kind[:100]}; send JSON with the header content-type: {_JSON}"
        )
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _bytes_of(request, hold)
    except TimeoutError as error:
        text = f"the body did not arrive within {BODY_SECONDS:g} s; send it again"
        raise BodyTooSlowError(text, connection="close") from error
    if body and not kind:
        raise MediaTypeError(f"a body needs the header content-type: {_JSON}")
    return body


async def _bytes_of(request: Request, hold: Callable[[], None]) -> bytes:
    """Return the bytes of a body.

    Raises:
        BodyTooLargeError: there are too many.
    """
    too_large = BodyTooLargeError(
        f"a body has at most {MAX_MESSAGE_BYTES:,} bytes; send fewer results at once",
        connection="close",
    )
    length = request.headers.get("content-length", "0")
    if int(length if length.isdecimal() else 0) > MAX_MESSAGE_BYTES and "expect" in request.headers:
        raise too_large  # the client asked first, and sends nothing
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        if size <= SMALL_BYTES < size + len(chunk):
            hold()
        size += len(chunk)
        if size <= MAX_MESSAGE_BYTES:
            body += chunk
        elif size > _MOST_DISCARDED_BYTES:
            break
    # A client that is not answered until it has sent everything reads the answer.
    if size > MAX_MESSAGE_BYTES:
        raise too_large
    return bytes(body)


def _as_condition(error: ServiceError, request: Request) -> ServiceError:
    """Return the error that HTTP has for a condition of If-Match that does not hold."""
    if error.reason != ConditionFailedError.reason or "if-match" not in request.headers:
        return error
    failed = ConditionFailedError(error.message)
    failed.metadata = error.metadata
    return failed
