"""``/openapi.json``: the contract of HTTP, for programs; `make protos` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

#: Where it is, generated from the rules, the contract and its comments.
DOCUMENT = Path(__file__).with_name("openapi.json")


def openapi_routes() -> list[BaseRoute]:
    """Return the route of the document. Anybody may read it: the contract is public."""
    document = DOCUMENT.read_bytes()
    headers = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}

    async def answer(_: Request) -> Response:
        return Response(document, 200, headers, media_type="application/json")

    return [Route("/openapi.json", answer)]
