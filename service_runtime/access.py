"""Who may call: one check before every handler, of gRPC, HTTP and pages.

A service has an :class:`Access`, which knows callers, and a table of the scope that each
method needs. What the table does not have is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from service_runtime.caller import DEFAULT_ORGANISATION, Caller, Scope, on_behalf_of
from service_runtime.errors import InvalidRequestError, ScopeMissingError, StartupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The header of HTTP, and the metadata entry of gRPC, that carries a key.
AUTHORIZATION = "authorization"
#: The metadata entry in which a key with scope ``service`` names an organisation.
ORGANIZATION = "closeout-organization"
#: The header of HTTP that says how the caller calls the service.
_HOST = "host"

#: In a table of scopes: anybody may call it, without a key.
OPEN: Final = "open"
#: In a table of scopes: it needs a key, and the handler checks the scope by the request.
BY_REQUEST: Final = "by-request"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call says about its caller.

    Attributes:
        authorization: the value of the header, as in ``Bearer closeout_…``; empty if absent.
        organization: the organisation it asks to act for; empty if absent.
        on_behalf_of: for whom it says it acts; empty if it claims nothing.
        peer: the address it comes from, as gRPC writes it: ``ipv4:127.0.0.1:4711``.
        host: the name of the service that it called, as HTTP has it; empty if absent.
    """

    authorization: str
    organization: str
    on_behalf_of: str
    peer: str
    host: str = ""

    def __repr__(self) -> str:
        return f"Credentials(peer={self.peer!r})"  # a key is never shown

    @classmethod
    def of(cls, metadata: Iterable[tuple[str, str | bytes]], peer: str) -> Credentials:
        """Read them from metadata, or from headers with names in lower case.

        Raises:
            InvalidRequestError: the claim for whom it acts is too long, or not printable;
                or the key or the organisation stands there twice, or is no text.
        """
        given = list(metadata)
        entries = [(name, value) for name, value in given if isinstance(value, str)]
        values = dict(entries)
        # What stands in front of this service may have looked at another one of two.
        for name in (AUTHORIZATION, ORGANIZATION):
            count = sum(1 for known, _ in given if known == name)
            if count != (name in values):
                raise InvalidRequestError.of({name: "send it once, as ASCII text"})
        return cls(
            authorization=values.get(AUTHORIZATION, ""),
            organization=values.get(ORGANIZATION, ""),
            on_behalf_of=on_behalf_of(entries),
            peer=peer,
            host=values.get(_HOST, ""),
        )


class Access(Protocol):
    """Knows callers by their credentials."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller; a long call asks again, to learn that a key was revoked.

        Raises:
            ServiceError: UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED, with the
                reason; UNAVAILABLE if nobody can be known now.
        """


class EverybodyAccess:
    """Serves everybody as the organisation ``default``, with all scopes.

    A service that listens on loopback begins like this, until the first key is made.
    """

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return a caller whose actor is its address."""
        return Caller(
            DEFAULT_ORGANISATION, actor=credentials.peer, on_behalf_of=credentials.on_behalf_of
        )


def require(caller: Caller, scope: Scope) -> None:
    """Check that ``caller`` may do what needs ``scope``.

    Raises:
        ScopeMissingError: it may not.
    """
    if scope not in caller.scopes:
        raise ScopeMissingError(scope)


def check_table(scopes: Mapping[str, object], methods: Iterable[str]) -> None:
    """Check that a table says for every method what it needs.

    Args:
        scopes: by full method name, as in ``/closeout.status.v1.StatusService/GetCampaign``.
        methods: those that the server answers.

    Raises:
        StartupError: one is missing.
    """
    if missing := sorted(set(methods) - set(scopes)):
        raise StartupError(f"no scope is set for {', '.join(missing)}: a defect; please report it")
