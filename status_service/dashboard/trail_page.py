"""The whole audit trail of a campaign, for one that has more than its page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from service_runtime.caller import Scope
from service_runtime.pages import PageRequest
from status_service.dashboard import formats, trail
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from starlette.responses import Response

_PATH = "/campaigns/{campaign_id}/trail"
#: Changes of state on a page.
_PAGE_SIZE = 100


async def show(visit: Visit) -> Response:
    """Show changes of state, oldest first, as they are stored."""
    views, campaign_id = visit.board.views, visit.campaign_id
    campaign = await views.get(visit.caller, campaign_id)
    asked = PageRequest(_PAGE_SIZE, visit.request.query_params.get("page", ""))
    found = await views.list_transitions(visit.caller, campaign_id, asked)
    now = await visit.board.clock()
    address = _PATH.format(campaign_id=campaign_id)
    token = found.next_page_token
    return visit.render(
        "trail.html",
        now=now,
        name=formats.clean(campaign.display_name) or campaign_id,
        campaign_id=campaign_id,
        steps=trail.steps(found.rows, now),
        is_first=not asked.token,
        first=address,
        newer=f"{address}?{urlencode({'page': token})}" if token else "",
    )


PAGES = (Page(_PATH, "GET", Scope.READ, show),)
