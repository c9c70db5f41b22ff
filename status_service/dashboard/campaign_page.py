"""The page of one campaign: how it stands and what to do first, then what proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from starlette.responses import Response


async def show(visit: Visit) -> Response:
    """Show a campaign."""
    return await page_of(visit)


async def page_of(visit: Visit, *, refused: str = "", status: int = 200) -> Response:
    """Return the page of a campaign.

    Args:
        visit: of any page of this campaign.
        refused: why what was asked was not done; shown on top, with the focus.
        status: the status of HTTP.
    """
    found, _, _ = await visit.board.views.explain(visit.caller, visit.campaign_id)
    return visit.render(
        "campaign.html", now=found.now, status=status, refused=refused, campaign=found.campaign
    )


PAGES = (Page("/campaigns/{campaign_id}", "GET", Scope.READ, show),)
