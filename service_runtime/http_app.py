"""The HTTP application of a service, put together from routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from service_runtime.http_errors import answer_http_exception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application that answers ``routes``, and 404 in JSON for everything else."""
    return Starlette(
        routes=list(routes),
        exception_handlers={
            HTTPException: answer_http_exception,
            Exception: answer_http_exception,
        },
    )
