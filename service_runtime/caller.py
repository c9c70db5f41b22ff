"""The caller: the organisation a call may see, its scopes, and the actor of the audit trail."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from service_runtime import tracing
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

#: The organisation of every caller while no key exists.
DEFAULT_ORGANISATION = "default"
#: The metadata entry that says for whom a call is made.
ON_BEHALF_OF = "closeout-on-behalf-of"
#: As many characters it may have.
LONGEST_ON_BEHALF_OF = 128


class Scope(StrEnum):
    """What a key allows: docs/access.md has the table of calls."""

    READ = "read"
    REPORT = "report"
    WRITE = "write"
    REPAIR = "repair"
    ADMIN = "admin"
    #: To act for an organisation that the metadata names; for the sender service alone.
    SERVICE = "service"


#: What a caller may do while no key exists: everything but to act for an organisation.
ALL_SCOPES = frozenset(Scope) - {Scope.SERVICE}


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of one call.

    Attributes:
        organisation: the scope of every query.
        actor: the name in the audit trail: ``key:NAME``, or the peer address while no key
            exists.
        on_behalf_of: for whom the actor acts, by its own claim; empty if it claims nothing.
        scopes: what it may do.
        key_id: the public part of its key; empty if it has none.
        key_name: the name of its key; empty if it has none.
    """

    organisation: str
    actor: str
    on_behalf_of: str = ""
    scopes: frozenset[Scope] = ALL_SCOPES
    key_id: str = ""
    key_name: str = ""


_current: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Make ``caller`` the one of the call that this task answers."""
    _current.set(caller)
    tracing.note(organisation=caller.organisation)


def organisation_of_call() -> str:
    """Return the organisation of the caller; empty where it need not say who it is."""
    caller = _current.get(None)
    return "" if caller is None else caller.organisation


def caller_of(_context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return the identity of the caller, which :mod:`.access` has checked.

    Raises:
        LookupError: the server checks no callers, which is a defect.
    """
    return _current.get()


def on_behalf_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return for whom the caller says it acts; empty if it does not.

    Raises:
        InvalidRequestError: the claim is too long, or not printable.
    """
    claims = [value for name, value in metadata if name == ON_BEHALF_OF]
    claim = str(claims[-1]).strip() if claims else ""
    if len(claim) > LONGEST_ON_BEHALF_OF or not (claim.isascii() and claim.isprintable()):
        raise InvalidRequestError.of(
            {ON_BEHALF_OF: f"send at most {LONGEST_ON_BEHALF_OF} printable ASCII characters"}
        )
    return claim
