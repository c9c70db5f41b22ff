"""The exceptions of the clients, and how a gRPC error becomes one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from closeout import errors

if TYPE_CHECKING:
    from google.protobuf.message import Message

    RpcErrors = Callable[..., grpc.RpcError]

_DETAILS_KEY = "grpc-status-details-bin"


class BlockingRpcError(grpc.RpcError):
    """What a blocking call raises, as far as its caller may know it: gRPC hides its class."""

    def __init__(self, code: grpc.StatusCode, message: str, trailing: bytes | None) -> None:
        super().__init__()
        self._code, self._message, self._trailing = code, message, trailing

    def code(self) -> grpc.StatusCode:
        """The canonical code."""
        return self._code

    def details(self) -> str:
        """The text."""
        return self._message

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:  # type: ignore[override]
        """The metadata after the answer, as pairs."""
        return () if self._trailing is None else ((_DETAILS_KEY, self._trailing),)


@pytest.fixture(params=["asyncio", "blocking"])
def rpc_error(request: pytest.FixtureRequest) -> RpcErrors:
    """Return what makes the error that a call of either kind raises."""

    def make(
        code: grpc.StatusCode, message: str = "no", details: tuple[Message, ...] = ()
    ) -> grpc.RpcError:
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=code.value[0], message=message, details=packed)
        trailing = status.SerializeToString() if details else None
        if request.param == "blocking":
            return BlockingRpcError(code, message, trailing)
        pairs = [] if trailing is None else [(_DETAILS_KEY, trailing)]
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*pairs), message)

    return make


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_every_code_has_an_exception_of_its_own(
    rpc_error: RpcErrors, code: grpc.StatusCode
) -> None:
    """A failure with any canonical code becomes a ClientError that carries the code."""
    error = errors.from_rpc_error(rpc_error(code, "the text"))
    assert isinstance(error, errors.ClientError)
    assert error.code is code
    assert str(error) == error.message == "the text"
    assert error.__doc__


def test_no_two_codes_share_an_exception() -> None:
    """Catching one class never catches the failure of another code."""
    assert len(set(errors.BY_CODE.values())) == len(errors.BY_CODE) == len(grpc.StatusCode) - 1


def test_details_of_the_service_are_unpacked(rpc_error: RpcErrors) -> None:
    """Reason, metadata, field violations and the time to wait are attributes."""
    delay = duration_pb2.Duration(seconds=1, nanos=500_000_000)
    violation = error_details_pb2.BadRequest.FieldViolation(field="total", description="negative")
    error = errors.from_rpc_error(
        rpc_error(
            grpc.StatusCode.INVALID_ARGUMENT,
            details=(
                error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", metadata={"a": "b"}),
                error_details_pb2.BadRequest(field_violations=[violation]),
                error_details_pb2.RetryInfo(retry_delay=delay),
                error_details_pb2.DebugInfo(detail="not ours, passed over"),
            ),
        )
    )
    assert error.reason == "INVALID_REQUEST"
    assert error.metadata == {"a": "b"}
    assert error.field_violations == {"total": "negative"}
    assert error.retry_after_seconds == pytest.approx(1.5)


def test_an_error_without_text_is_named_by_its_code(rpc_error: RpcErrors) -> None:
    """The message is never empty."""
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, ""))
    assert str(error) == "deadline exceeded"
    assert error.reason == ""
    assert error.retry_after_seconds is None


@pytest.mark.parametrize("at", ["status", "detail"])
def test_garbled_details_leave_the_error_as_it_is(at: str) -> None:
    """Its code and its text are there, and what can be read of its details."""
    garbled = b"\xff" * 9
    if at == "detail":
        kept = any_pb2.Any()
        kept.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2**62)))
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        details = [any_pb2.Any(type_url=kind, value=garbled), kept]
        garbled = status_pb2.Status(details=details).SerializeToString()
    error = errors.from_rpc_error(BlockingRpcError(grpc.StatusCode.NOT_FOUND, "no", garbled))
    assert isinstance(error, errors.NotFoundError)
    assert (error.message, error.reason, error.metadata) == ("no", "", {})
    assert error.retry_after_seconds == (2.0**62 if at == "detail" else None)


def test_an_error_travels_between_processes() -> None:
    """A queue of tasks that pickles the failure of a task keeps what it says."""
    error = errors.FailedPreconditionError(
        "no", reason="CAMPAIGN_NOT_SEALED", metadata={"a": "b"}, retry_after_seconds=2.0
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own error
    assert type(copy) is errors.FailedPreconditionError
    assert str(copy) == "no"
    assert vars(copy) == vars(error)


def test_a_reason_that_grpc_lost_is_to_be_asked_for_again(rpc_error: RpcErrors) -> None:
    """A call that ends while its client writes is no defect of the service (grpc/grpc#36066)."""
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode.INTERNAL, "Internal error from Core"))
    assert type(error) is errors.UnavailableError
    assert "call again" in error.message
    told = errors.from_rpc_error(rpc_error(grpc.StatusCode.INTERNAL, "internal error 17"))
    assert type(told) is errors.InternalError
