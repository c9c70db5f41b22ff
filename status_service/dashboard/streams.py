"""The streams of events of open pages."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from service_runtime.caller import Scope
from status_service.dashboard.campaigns_page import Query, read
from status_service.dashboard.gate import is_still_admitted
from status_service.dashboard.visit import Page, Visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from status_service.dashboard.live import Event
#: How often a stream asks if its session holds, and says that it lives, seconds.
_ASK, _ALIVE = 5.0, 15.0
_SIGNED_OUT = "event: signed-out\ndata: {}\n\n"


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
    if visit.board.live.is_full:
        text = "Too many pages are open. This one shows what it has, and tries again.\n"
        return PlainTextResponse(text, 503, headers={"retry-after": "3"})
    return StreamingResponse(
        _events(visit, ids, listing=listing),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(visit: Visit, ids: Collection[str], *, listing: bool) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    asked = spoke = loop.time()
    with visit.board.live.following(visit.caller.organisation, ids, listing=listing) as page:
        yield "retry: 3000\n\n"
        while not (page.is_over or visit.board.stopping.is_set()):
            # Short enough that the end of the service is not held up.
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await page.news.wait()
            if loop.time() - asked >= _ASK:
                asked = loop.time()
                if not await is_still_admitted(visit, Scope.READ):
                    yield _SIGNED_OUT
                    return
            if event := page.take():
                spoke = loop.time()
                yield _written(event)
                if not listing and event.ended:
                    return
            elif loop.time() - spoke >= _ALIVE:
                spoke = loop.time()
                yield ": alive\n\n"


def _written(event: Event) -> str:
    mark = f"id: {event.revision}\n" if event.revision else ""
    return f"{mark}data: {event.data}\n\n"


def _signed_out() -> Response:
    """Say so as a stream: a browser would take the page of sign-in for a broken one."""
    return Response(_SIGNED_OUT, media_type="text/event-stream")


_AT = "/campaigns/{campaign_id}/events"
PAGES = (
    Page("/events", "GET", Scope.READ, of_campaigns, if_signed_out=_signed_out),
    Page(_AT, "GET", Scope.READ, of_campaign, if_signed_out=_signed_out),
)
