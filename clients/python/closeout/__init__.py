"""Typed Python clients of Closeout, and the code generated from its contract.

:class:`StatusClient`, :class:`SenderClient`, :class:`AccessClient` and :class:`EventClient`
block; those for asyncio are in :mod:`closeout.aio`. :mod:`closeout.status.v1` and
:mod:`closeout.sender.v1` have the messages. A call that fails raises one of the errors
below. :class:`Tls` names the files of TLS, and :func:`from_environment` reads key and files
from the environment.
"""

from __future__ import annotations

from closeout.environment import from_environment
from closeout.errors import (
    AbortedError,
    AlreadyExistsError,
    CallCancelledError,
    ClientError,
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
    from_rpc_error,
)
from closeout.sync import AccessClient, EventClient, SenderClient, StatusClient
from closeout.tls import Tls

__all__ = [
    "AbortedError",
    "AccessClient",
    "AlreadyExistsError",
    "CallCancelledError",
    "ClientError",
    "DataLossError",
    "DeadlineExceededError",
    "EventClient",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "SenderClient",
    "StatusClient",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "from_environment",
    "from_rpc_error",
]
