"""Failures over HTTP: ``google.rpc.Status`` in JSON, by the canonical mapping of codes."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final

import grpc
import structlog
from google.protobuf import json_format
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service_runtime.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

log = structlog.get_logger()

#: Headers of every answer in JSON: nobody guesses its type, and nobody keeps it.
JSON_HEADERS: Final[Mapping[str, str]] = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
#: The status of HTTP for each canonical code; every other code is 500.
_HTTP_STATUS: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
#: Statuses that say when to come back.
_RETRYABLE = {429, 503}


class HttpRefusalError(InvalidRequestError):
    """A request that HTTP itself has another status for than 400.

    Attributes:
        status: the status.
        headers: those of the answer, such as Allow.
    """

    status: ClassVar[int] = 400

    def __init__(self, message: str, **headers: str) -> None:
        super().__init__(message)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class MethodNotAllowedError(HttpRefusalError):
    """The path exists, and takes another method."""

    status = 405


class BodyTooSlowError(HttpRefusalError):
    """The body did not arrive in time."""

    status = 408


class ConditionFailedError(HttpRefusalError):
    """The campaign is not the one of If-Match any more."""

    status = 412
    code = grpc.StatusCode.ABORTED
    reason = "REVISION_MISMATCH"


class BodyTooLargeError(HttpRefusalError):
    """The body has more bytes than a message may have."""

    status = 413


class MediaTypeError(HttpRefusalError):
    """The body is of another type than JSON."""

    status = 415


class ForeignOriginError(HttpRefusalError):
    """A page of another origin would change something."""

    status = 403


class TooManyConnectionsError(ServiceError):
    """The server has as many connections as it takes."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "TOO_MANY_CONNECTIONS"
    retryable = True

    def __init__(self, most: int) -> None:
        super().__init__(
            f"this service has {most:,} connections, and takes no more; close what you do not need,"
            " and come back in a moment",
            metadata={"most": str(most)},
        )


class PathNotFoundError(ServiceError):
    """No call has this path."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "PATH_NOT_FOUND"


def http_status(error: ServiceError) -> int:
    """Return the status of HTTP for an error."""
    if isinstance(error, HttpRefusalError):
        return error.status
    return _HTTP_STATUS.get(error.code, 500)


def error_json(error: ServiceError) -> dict[str, Any]:
    """Return an error as google.rpc.Status in JSON: code, message, details."""
    status: dict[str, Any] = json_format.MessageToDict(error.to_status())
    return status


def error_response(error: ServiceError) -> Response:
    """Return the answer that reports an error."""
    status = http_status(error)
    headers = dict(JSON_HEADERS)
    if isinstance(error, HttpRefusalError):
        headers |= error.headers
    if status in _RETRYABLE:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds or 0)))
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="closeout"'
    return JSONResponse(error_json(error), status, headers)


def unexpected(error: Exception, where: str) -> ServiceError:
    """Log a defect with its stack, and return what its caller learns of it: an id."""
    error_id = uuid.uuid4().hex
    log.error("call_failed", method=where, error_id=error_id, exc_info=error)
    return ServiceError(
        f"internal error {error_id}; the log of the service has the details",
        metadata={"error_id": error_id},
    )


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: a path that nothing has, or a method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    method, path = request.method, request.url.path
    if status == 404:  # noqa: PLR2004 - as HTTP has it
        return error_response(
            PathNotFoundError(
                f"no such path: {path}; /openapi.json lists all of them",
                metadata={"method": method},
            )
        )
    if status == 405:  # noqa: PLR2004 - as HTTP has it
        allow = (getattr(error, "headers", None) or {}).get("Allow", "")
        return error_response(not_allowed(method, ", ".join(sorted(allow.split(", ")))))
    return error_response(unexpected(error, f"{method} {path}"))


def not_allowed(method: str, allow: str) -> MethodNotAllowedError:
    """Return the refusal of a method where others are allowed."""
    return MethodNotAllowedError(f"{method} is not allowed here; use {allow}", allow=allow)
