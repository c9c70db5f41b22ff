"""The exceptions of the clients, and how a gRPC error becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from closeout import errors

if TYPE_CHECKING:
    from google.protobuf.message import Message


def rpc_error(
    code: grpc.StatusCode, message: str = "no", details: tuple[Message, ...] = ()
) -> grpc.aio.AioRpcError:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), trailing if details else grpc.aio.Metadata(), message
    )


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_every_code_has_an_exception_of_its_own(code: grpc.StatusCode) -> None:
    """A failure with any canonical code becomes a ClientError that carries the code."""
    error = errors.from_rpc_error(rpc_error(code, "the text"))
    assert isinstance(error, errors.ClientError)
    assert error.code is code
    assert str(error) == error.message == "the text"
    assert error.__doc__


def test_no_two_codes_share_an_exception() -> None:
    """Catching one class never catches the failure of another code."""
    assert len(set(errors.BY_CODE.values())) == len(errors.BY_CODE) == len(grpc.StatusCode) - 1


def test_details_of_the_service_are_unpacked() -> None:
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


def test_an_error_without_text_is_named_by_its_code() -> None:
    """The message is never empty."""
    error = errors.from_rpc_error(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, ""))
    assert str(error) == "deadline exceeded"
    assert error.reason == ""
    assert error.retry_after_seconds is None
