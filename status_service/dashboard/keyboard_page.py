"""The keys of the pages, and the switch that turns the single ones off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

from service_runtime.access import OPEN
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from starlette.responses import Response


async def show(visit: Visit) -> Response:
    """Show the keys."""
    frame = visit.frame() if visit.caller.organisation else None
    return HTMLResponse(visit.board.renderer.page("keyboard.html", frame=frame, now=None))


PAGES = (Page("/keyboard", "GET", OPEN, show),)
