"""The error a service raises, and its one mapping to a gRPC status.

A service raises a :class:`ServiceError`; an interceptor (:mod:`.grpc_server`)
turns it into a canonical code with ``google.rpc`` details. Nothing else calls
``context.abort``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

#: ``domain`` of every ErrorInfo.
DOMAIN = "closeout"


class ServiceError(Exception):
    """A failure that is reported to the caller.

    Args:
        message: what went wrong and what to do about it, for people.
        metadata: every dynamic part of the message, for programs.
        fields: field violations, by field path; sent as BadRequest.
        retry_after_seconds: when to try again; sent as RetryInfo.
    """

    #: The canonical code.
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    #: True if the same request may succeed later without any change of it.
    retryable: ClassVar[bool] = False
    #: The name of a value of ``closeout.status.v1.ErrorReason``.
    reason: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.fields = dict(fields or {})
        self.retry_after_seconds = retry_after_seconds

    def to_status(self) -> status_pb2.Status:
        """Return the failure as ``google.rpc.Status`` with its details."""
        details = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        ]
        if self.fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
                for field, text in self.fields.items()
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if self.retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(self.retry_after_seconds * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)


class InvalidRequestError(ServiceError):
    """A field of the request is wrong; ``fields`` names each one."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"

    @classmethod
    def of(cls, fields: Mapping[str, str], *, unnamed: int = 0) -> InvalidRequestError:
        """Return the error for violations by field path; its text lists them all.

        Args:
            fields: the violations.
            unnamed: how many further problems there are.
        """
        text = "; ".join(f"{field}: {violation}" for field, violation in fields.items())
        return cls(text + (f"; and {unnamed} more" if unnamed else ""), fields=fields)


class StoreUnavailableError(ServiceError):
    """The database does not answer; nothing was changed that was not acknowledged."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"
    retryable = True


class StoreBusyError(StoreUnavailableError):
    """The database answers; somebody else holds a lock on what was to be changed."""


class ShuttingDownError(ServiceError):
    """The process is stopping."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "SHUTTING_DOWN"
    retryable = True


class StartupError(Exception):
    """The process can't start; the text says why in one line and what to do."""


def in_one_line(error: Exception) -> str:
    """Return what an error of a database says, without the statement that met it."""
    said = str(getattr(error, "orig", None) or error)
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())
