"""The streams of events of open pages."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from service_runtime.caller import Scope
from status_service.dashboard.campaigns_page import Query, read
from status_service.dashboard.gate import is_still_admitted
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from starlette.responses import Response

#: How often a stream asks if its session holds, and says that it lives, seconds.
_ASK, _ALIVE = 5.0, 15.0


async def of_campaigns(visit: Visit) -> Response:
    """Stream what changes on a page of the list, which is asked for by the same query."""
    found = await read(visit, Query.of(visit.request))
    ids = [row.campaign_id for row in found.page.rows]
    ids += [one.campaign.campaign_id for one in found.needy]
    return _stream(visit, ids, listing=True)


async def of_campaign(visit: Visit) -> Response:
    """Stream what changes of one campaign, until it has ended."""
    await visit.board.views.get(visit.caller, visit.campaign_id)
    return _stream(visit, [visit.campaign_id], listing=False)


def _stream(visit: Visit, ids: Collection[str], *, listing: bool) -> Response:
    return StreamingResponse(
        _events(visit, ids, listing=listing),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(visit: Visit, ids: Collection[str], *, listing: bool) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    asked = spoke = loop.time()
    yield "retry: 3000\n\n"
    with visit.board.live.following(visit.caller.organisation, ids, listing=listing) as page:
        while not (page.is_over or visit.board.stopping.is_set()):
            # Short enough that the end of the service is not held up.
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await page.news.wait()
            if loop.time() - asked >= _ASK:
                asked = loop.time()
                if not await is_still_admitted(visit, Scope.READ):
                    yield "event: signed-out\ndata: {}\n\n"
                    return
            news = page.take()
            if news:
                spoke = loop.time()
                mark = "" if news.revision is None else f"id: {news.revision}\n"
                yield f"{mark}data: {news.json}\n\n"
                if news.ended and not listing:
                    return
            elif loop.time() - spoke >= _ALIVE:
                spoke = loop.time()
                yield ": alive\n\n"


PAGES = (
    Page("/events", "GET", Scope.READ, of_campaigns),
    Page("/campaigns/{campaign_id}/events", "GET", Scope.READ, of_campaign),
)
