"""The HTTP application of a service, put together from routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application that answers ``routes``, and 404 for everything else."""
    return Starlette(routes=list(routes))
