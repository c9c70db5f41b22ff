"""Who calls: the organisation a call may see, and the actor the audit trail names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

#: The organisation of every caller until keys tell them apart.
DEFAULT_ORGANISATION = "default"


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of one call.

    Attributes:
        organisation: scopes every query.
        actor: for the audit trail; the peer address until keys exist.
    """

    organisation: str
    actor: str


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return the identity behind ``context``."""
    return Caller(organisation=DEFAULT_ORGANISATION, actor=context.peer())
