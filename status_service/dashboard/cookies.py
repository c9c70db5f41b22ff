"""The cookie of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from status_service.dashboard.sessions import LONGEST

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

#: With TLS the prefix binds the cookie to this host; without, browsers refuse the prefix.
_SECURE, _PLAIN = "__Host-closeout", "closeout-session"


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _name(request: Request) -> str:
    return _SECURE if _is_secure(request) else _PLAIN


def cookie_of(request: Request) -> str:
    """Return what the cookie of a session has; empty: there is none."""
    return request.cookies.get(_name(request), "")


def set_cookie(response: Response, request: Request, token: str) -> None:
    """Give the browser a session."""
    response.set_cookie(
        _name(request),
        token,
        max_age=int(LONGEST.total_seconds()),
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response, request: Request) -> None:
    """Take the session from the browser."""
    response.delete_cookie(
        _name(request), path="/", secure=_is_secure(request), httponly=True, samesite="strict"
    )
