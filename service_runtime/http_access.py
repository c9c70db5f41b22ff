"""The check of callers of HTTP requests: the same as of gRPC calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_runtime.access import Credentials, require

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from service_runtime.access import Access
    from service_runtime.caller import Caller, Scope


def credentials_of(request: HTTPConnection) -> Credentials:
    """Return what a request says about its caller.

    Raises:
        InvalidRequestError: the claim for whom it acts is too long, or not printable.
    """
    return Credentials.of(request.headers.items(), peer_of(request))


def peer_of(request: HTTPConnection) -> str:
    """Return where a request comes from, as gRPC writes it: ``ipv4:127.0.0.1:4711``."""
    if request.client is None:
        return "unknown"
    host, port = request.client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


async def admit(request: HTTPConnection, access: Access, scope: Scope) -> Caller:
    """Return the caller of a request, who may do what needs ``scope``.

    Raises:
        ServiceError: UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED, with the
            reason; UNAVAILABLE if nobody can be known now.
    """
    caller = await access.authenticate(credentials_of(request))
    require(caller, scope)
    return caller
