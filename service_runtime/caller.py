"""The caller: the organisation a call may see, and the actor of the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    import grpc

#: The organisation of every caller until callers have keys.
DEFAULT_ORGANISATION = "default"
#: The metadata entry that says for whom a call is made.
ON_BEHALF_OF = "closeout-on-behalf-of"
#: As many characters it may have.
LONGEST_ON_BEHALF_OF = 128


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of one call.

    Attributes:
        organisation: the scope of every query.
        actor: the name in the audit trail; the peer address until callers have keys.
        on_behalf_of: for whom the actor acts, by its own claim; empty if it claims nothing.
    """

    organisation: str
    actor: str
    on_behalf_of: str = ""


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return the identity of the caller of ``context``.

    Raises:
        InvalidRequestError: the claim for whom it acts is too long, or not printable.
    """
    return Caller(
        organisation=DEFAULT_ORGANISATION,
        actor=context.peer(),
        on_behalf_of=_on_behalf_of(context.invocation_metadata() or ()),
    )


def _on_behalf_of(metadata: Any) -> str:
    claims = [value for name, value in metadata if name == ON_BEHALF_OF]
    claim = str(claims[-1]).strip() if claims else ""
    if len(claim) > LONGEST_ON_BEHALF_OF or not (claim.isascii() and claim.isprintable()):
        raise InvalidRequestError.of(
            {ON_BEHALF_OF: f"send at most {LONGEST_ON_BEHALF_OF} printable ASCII characters"}
        )
    return claim
