"""The page of all campaigns: what needs a person first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from starlette.responses import Response


async def show(visit: Visit) -> Response:
    """Show campaigns."""
    return visit.render("campaigns.html", now=await visit.board.clock())


PAGES = (Page("/", "GET", Scope.READ, show),)
