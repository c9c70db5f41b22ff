"""The page of one campaign: how it stands and what to do first, then what proves it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from status_service.dashboard import actions, resend_form, sender_part
from status_service.dashboard.campaign_view import view_of
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from starlette.responses import Response

    from status_service.reads.values import CampaignPage


#: What is said after an action, by the word in the address that it leads to.
DONE = {
    "paused": "Paused. No new message goes out until it is resumed.",
    "resumed": "Resumed. Messages go out again.",
    "cancelled": "Cancelled. What is in the provider's hands still gets its result.",
    "completing": "Being marked complete, which takes minutes with millions of messages.",
    "completed": "Marked complete.",
    "forced": "Marked complete. What had no result is recorded as UNKNOWN.",
    "resent": "The resend goes out. This is its campaign; the one before stays as it is.",
}


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
    page = await visit.board.views.campaign_page(visit.caller, visit.campaign_id)
    part = await _ask_sender(visit, page)
    done = DONE.get(visit.request.query_params.get("done", ""), "")
    return visit.render(
        "campaign.html",
        now=page.finding.now,
        status=status,
        refused=refused,
        done="" if refused else done,
        it=view_of(page, part),
        actions=actions.of(visit, page.finding.campaign),
        resend=await resend_form.beside(visit, page.finding.campaign),
    )


async def _ask_sender(visit: Visit, page: CampaignPage) -> sender_part.SenderPart:
    """Return what the sender says of a campaign, or that it does not, within half a second."""
    link, campaign = visit.board.sender, page.finding.campaign
    doubted = [row.sequence for row in page.in_doubt]
    questions = [link.delivery(visit.caller, campaign.campaign_id)]
    if doubted:
        questions.append(link.recipients(visit.caller, campaign.campaign_id, doubted))
    return sender_part.part(campaign, *await asyncio.gather(*questions))


PAGES = (Page("/campaigns/{campaign_id}", "GET", Scope.READ, show),)
