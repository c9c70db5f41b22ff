"""The error a service raises, and its one mapping to a gRPC status.

A service raises a :class:`ServiceError`; an interceptor (:mod:`.grpc_server`)
turns it into a canonical code with ``google.rpc`` details. Nothing else calls
``context.abort``.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, islice
from typing import TYPE_CHECKING, ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: ``domain`` of every ErrorInfo.
DOMAIN = "closeout"

# A status travels in the trailers of its call, its text twice. Trailers over 8 KiB may
# be refused on the way, and the caller gets RESOURCE_EXHAUSTED in place of the error.
# Together, these bounds make at most 6 KiB, also where bytes are sent as base64.
_MESSAGE_BYTES = 1_000  # as a header has it: three for each byte that is escaped
_METADATA_BYTES = 1_000  # of all values together
_VALUE_BYTES = 500
_VIOLATIONS_BYTES = 1_000  # of all violations together
_MOST_VIOLATIONS = 20
_FIELD_BYTES = 100
_DESCRIPTION_BYTES = 300
#: Where a text was cut.
_MARK = "…"


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
        """Return the failure as ``google.rpc.Status`` with its details.

        It fits into the trailers of a call: long texts end with ``…`` where they were
        cut, and of many violations the last says how many more there are.
        """
        details = [
            error_details_pb2.ErrorInfo(
                reason=self.reason, domain=DOMAIN, metadata=_bounded(self.metadata)
            )
        ]
        if self.fields:
            details.append(error_details_pb2.BadRequest(field_violations=_violations(self.fields)))
        if self.retry_after_seconds is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(self.retry_after_seconds * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        message = _cut(self.message, _MESSAGE_BYTES, _header_bytes)
        return status_pb2.Status(code=self.code.value[0], message=message, details=packed)


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata of a bounded size; where all is too long, no value has more than its part."""
    values = {name: _cut(value, _VALUE_BYTES) for name, value in metadata.items()}
    if sum(map(_utf8_bytes, values.values())) > _METADATA_BYTES:
        part = _METADATA_BYTES // len(values)
        values = {name: _cut(value, part) for name, value in values.items()}
    return values


def _violations(
    fields: Mapping[str, str],
) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """Return the first violations, and how many more there are."""
    violations = []
    room = _VIOLATIONS_BYTES
    for field, text in islice(fields.items(), _MOST_VIOLATIONS):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(field, _FIELD_BYTES), description=_cut(text, _DESCRIPTION_BYTES)
        )
        room -= violation.ByteSize()
        if room < 0:
            break
        violations.append(violation)
    if more := len(fields) - len(violations):
        violations.append(
            error_details_pb2.BadRequest.FieldViolation(description=f"and {more} more")
        )
    return violations


def _utf8_bytes(text: str) -> int:
    return len(text.encode())


def _header_bytes(character: str) -> int:
    """Return how many bytes a character is in a header: what is not printable is escaped."""
    plain = " " <= character <= "~" and character != "%"
    return 1 if plain else 3 * _utf8_bytes(character)


def _cut(text: str, limit: int, size: Callable[[str], int] = _utf8_bytes) -> str:
    """Return a text, or with a mark as much of it as fits into ``limit`` bytes.

    Args:
        text: what may be too long.
        limit: the most that may be returned, bytes.
        size: how many bytes a character is.
    """
    ends = list(accumulate(map(size, text[: limit + 1])))
    if not ends or ends[-1] <= limit:
        return text
    return text[: bisect_right(ends, limit - size(_MARK))] + _MARK


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


class KeyMissingError(ServiceError):
    """The call has no key, and this service serves nobody without one."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "KEY_MISSING"


class KeyMalformedError(ServiceError):
    """What the call sends is not a whole key: its form or its check sum is wrong."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "KEY_MALFORMED"


class KeyInvalidError(ServiceError):
    """There is no such key, or its secret is another one."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "KEY_INVALID"


class KeyExpiredError(ServiceError):
    """The key was right until it expired."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "KEY_EXPIRED"


class KeyRevokedError(ServiceError):
    """The key was right until somebody revoked it."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "KEY_REVOKED"


class TooManyAttemptsError(ServiceError):
    """Too many keys from one address were refused lately."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_ATTEMPTS"
    retryable = True


class ScopeMissingError(ServiceError):
    """The key is right, and does not allow this call."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "SCOPE_MISSING"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"this needs a key with the scope `{scope}`; use another key, or make one with"
            # Only a key that acts for all organisations makes another such key.
            f" closeout keys create {'--admin ' if scope == 'service' else ''}--scope {scope}",
            metadata={"scope": scope},
        )


class StoreUnavailableError(ServiceError):
    """The database does not answer; nothing was changed that was not acknowledged."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"
    retryable = True


class StoreFullError(StoreUnavailableError):
    """The disk that the database is on has no room left; a person has to make some."""


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
