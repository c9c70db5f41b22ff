"""The caller: the organisation a call may see, and the actor of the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

#: The organisation of every caller until callers have keys.
DEFAULT_ORGANISATION = "default"


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of one call.

    Attributes:
        organisation: the scope of every query.
        actor: the name in the audit trail; the peer address until callers have keys.
    """

    organisation: str
    actor: str


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return the identity of the caller of ``context``."""
    return Caller(organisation=DEFAULT_ORGANISATION, actor=context.peer())
