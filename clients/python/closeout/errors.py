"""What a call can fail with: one exception class for each canonical code.

Catch :class:`ClientError` for any failure, a subclass for one kind, and compare
``reason`` with the names of ``closeout.status.v1.ErrorReason`` for one case; never the
text. The gRPC error itself is in ``__cause__``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from closeout.tls_troubles import remedy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf import any_pb2

M = TypeVar("M", bound=Message)

#: Trailing metadata that carries ``google.rpc.Status`` with its details.
_DETAILS_KEY = "grpc-status-details-bin"
_FROM_CORE = "Internal error from Core"
_LOST = "the service ended the call, and gRPC lost the reason; call again to learn it"


class ClientError(Exception):
    """A call failed.

    Args:
        message: what went wrong and what to do about it, for people.
        reason: the name of a value of ``closeout.status.v1.ErrorReason``; empty if the
            failure does not come from the service itself.
        metadata: the dynamic parts of the message, for programs.
        field_violations: what is wrong with the request, by field path.
        retry_after_seconds: when to try again, if the service said so.
    """

    #: The canonical code.
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = dict(field_violations or {})
        self.retry_after_seconds = retry_after_seconds


class AbortedError(ClientError):
    """Another change came between: read again, then try again."""

    code = grpc.StatusCode.ABORTED


class AlreadyExistsError(ClientError):
    """The id is taken by other content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class CallCancelledError(ClientError):
    """The server, or something between, cancelled the call; or the client is closed.

    Closing a client cancels the calls that run, and every later one ends as they do.
    """

    code = grpc.StatusCode.CANCELLED


class DataLossError(ClientError):
    """Data was lost for good."""

    code = grpc.StatusCode.DATA_LOSS


class DeadlineExceededError(ClientError):
    """No answer came in time; whether the call took effect is not known."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class FailedPreconditionError(ClientError):
    """The campaign is not in a state that allows this."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class InternalError(ClientError):
    """A defect of the service; its log has the error id."""

    code = grpc.StatusCode.INTERNAL


class InvalidArgumentError(ClientError):
    """The request is wrong; ``field_violations`` names the fields."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ClientError):
    """There is no such campaign for this caller."""

    code = grpc.StatusCode.NOT_FOUND


class OutOfRangeError(ClientError):
    """A sequence is outside 1..total."""

    code = grpc.StatusCode.OUT_OF_RANGE


class PermissionDeniedError(ClientError):
    """The caller is known, and may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhaustedError(ClientError):
    """A limit is reached; ``retry_after_seconds`` says when to try again."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnauthenticatedError(ClientError):
    """The caller is not known."""

    code = grpc.StatusCode.UNAUTHENTICATED


class UnavailableError(ClientError):
    """The service can't be reached, or can't answer now: try again."""

    code = grpc.StatusCode.UNAVAILABLE


class UnimplementedError(ClientError):
    """The service is older than this client, or is another service."""

    code = grpc.StatusCode.UNIMPLEMENTED


class UnknownError(ClientError):
    """The server failed in a way it has no code for."""

    code = grpc.StatusCode.UNKNOWN


#: Every code but OK, and the exception for it.
BY_CODE: dict[grpc.StatusCode, type[ClientError]] = {
    error.code: error
    for error in (
        AbortedError,
        AlreadyExistsError,
        CallCancelledError,
        DataLossError,
        DeadlineExceededError,
        FailedPreconditionError,
        InternalError,
        InvalidArgumentError,
        NotFoundError,
        OutOfRangeError,
        PermissionDeniedError,
        ResourceExhaustedError,
        UnauthenticatedError,
        UnavailableError,
        UnimplementedError,
        UnknownError,
    )
}


def from_rpc_error(error: grpc.RpcError) -> ClientError:
    """Return the exception for what a gRPC call raised; raise it ``from error``.

    Args:
        error: what the call raised, ``grpc.aio.AioRpcError`` or its blocking counterpart.
    """
    if _reason_is_lost(error):
        return UnavailableError(_LOST)
    kind = BY_CODE[error.code()]
    details = _details(error)
    info = _unpacked(details, error_details_pb2.ErrorInfo())
    request = _unpacked(details, error_details_pb2.BadRequest())
    retry = _unpacked(details, error_details_pb2.RetryInfo())
    delay = retry.retry_delay
    return kind(
        _text(error),
        reason=info.reason,
        metadata=info.metadata,
        field_violations={item.field: item.description for item in request.field_violations},
        retry_after_seconds=(
            delay.seconds + delay.nanos / 1e9 if retry.HasField("retry_delay") else None
        ),
    )


def _reason_is_lost(error: grpc.RpcError) -> bool:
    """Return whether gRPC has put words of its own in the place of the service's answer.

    Its asyncio client does so where a call ends while it writes (grpc/grpc#36066).
    """
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _FROM_CORE


def _text(error: grpc.RpcError) -> str:
    """Return what went wrong, and what to do where TLS is the reason."""
    text = error.details() or error.code().name.lower().replace("_", " ")
    found = remedy(text) if error.code() is grpc.StatusCode.UNAVAILABLE else ""
    return f"{text}; {found}" if found else text


def _details(error: grpc.RpcError) -> list[any_pb2.Any]:
    """Return the details of an error; none if they are garbled, as by something between."""
    # Pairs, whichever of gRPC's two types they come in.
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in pairs:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            with suppress(DecodeError):
                return list(status_pb2.Status.FromString(value).details)
    return []


def _unpacked(details: Iterable[any_pb2.Any], message: M) -> M:
    """Fill ``message`` from the detail of its kind; leave it empty if that is garbled."""
    for detail in details:
        try:
            detail.Unpack(message)
        except DecodeError:
            message.Clear()
    return message
