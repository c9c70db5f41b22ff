"""The HTTP application of a service, put together from routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service_runtime.http_errors import answer_http_exception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

#: Answers a browser that asks for what is not there.
LostPage: TypeAlias = Callable[[Request], Awaitable[Response]]
_NOT_FOUND = 404
#: Paths of calls: nothing else is there, whoever asks.
_CALLS = "/v1/"


def application(routes: Sequence[BaseRoute], *, lost: LostPage | None = None) -> Starlette:
    """Return an application that answers ``routes``, and 404 in JSON for everything else.

    Args:
        routes: what it answers.
        lost: answers a browser in place of that, where people look at pages.
    """

    async def refused(request: Request, error: Exception) -> Response:
        if lost and isinstance(error, HTTPException) and _is_lost(request, error):
            return await lost(request)
        return await answer_http_exception(request, error)

    app = Starlette(
        routes=list(routes), exception_handlers={HTTPException: refused, Exception: refused}
    )
    # An address with another slash at its end is another one. To lead from one to the other
    # would be to believe the header Host, and that no proxy has TLS in front.
    app.router.redirect_slashes = False
    return app


def _is_lost(request: Request, error: HTTPException) -> bool:
    """Return whether a person followed a link to nowhere."""
    return (
        error.status_code == _NOT_FOUND
        and request.method in {"GET", "HEAD"}
        and "text/html" in request.headers.get("accept", "")
        and not request.scope["path"].startswith(_CALLS)
    )
