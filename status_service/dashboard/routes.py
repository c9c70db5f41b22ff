"""The table of pages, and their routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from status_service.dashboard import (
    action_pages,
    campaign_page,
    campaigns_page,
    complete_page,
    keyboard_page,
    problems_page,
    resend_page,
    result_pages,
    sign_in,
    streams,
    trail_page,
)
from status_service.dashboard.gate import guarded
from status_service.dashboard.security import protect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from status_service.dashboard.visit import Board, Page

#: Every page with its scope. What is not here is not there.
PAGES: Final[Sequence[Page]] = (
    *sign_in.PAGES,
    *campaigns_page.PAGES,
    *campaign_page.PAGES,
    *streams.PAGES,
    *trail_page.PAGES,
    *action_pages.PAGES,
    *complete_page.PAGES,
    *problems_page.PAGES,
    *result_pages.PAGES,
    *resend_page.PAGES,
    *keyboard_page.PAGES,
)


def routes(board: Board) -> list[Route]:
    """Return the routes of all pages and of the files beside them."""

    async def static(request: Request) -> Response:
        return protect(await board.assets.serve(request))

    return [*guarded(board, PAGES), Route("/static/{digest}/{name}", static)]
