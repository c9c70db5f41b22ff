"""What changes on open pages: one read each half second for all pages of an organisation.

A page gets the newest figures, never a queue of older ones. It gets texts that are
finished, by the names of the fields they stand in.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from service_runtime.errors import ServiceError
from status_service.dashboard import formats, states
from status_service.dashboard.campaign_view import progress, version_of
from status_service.dashboard.rows import bar_of, figures
from status_service.dashboard.summary import heading as heading_of
from status_service.dashboard.summary import lede
from status_service.reads.sampled import RecentSamples

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from status_service.campaigns.repair import Finding
    from status_service.reads.followed import Followed
    from status_service.reads.pace import Pace
    from status_service.reads.service import CampaignViews

log = structlog.get_logger()

#: Between two reads, seconds.
INTERVAL = 0.5


class Shown(NamedTuple):
    """What pages show of a campaign, finished: many have the same, so it is written once.

    Attributes:
        json: an object.
        revision: of the campaign's row.
        ended: it has ended.
    """

    json: str
    revision: int
    ended: bool


class News(NamedTuple):
    """What is new on a page.

    Attributes:
        json: an object.
        revision: that of the only campaign in it; None: it has none, or several.
        ended: a campaign in it has ended.
    """

    json: str
    revision: int | None
    ended: bool


class Follower:
    """One open page.

    Args:
        ids: the campaigns on it.
        listing: it is a list, whose heading counts.
    """

    def __init__(self, ids: Collection[str], *, listing: bool) -> None:
        self.ids = frozenset(ids)
        self.is_list = listing
        self.news = asyncio.Event()
        self.is_over = False
        self._waiting: dict[str, Shown] = {}
        self._given: dict[str, Shown] = {}
        self._heading = self._waiting_heading = ""

    def offer(self, campaign_id: str, shown: Shown) -> None:
        """Replace what waits of a campaign, unless the page has it already."""
        if self._given.get(campaign_id) != shown:
            self._given[campaign_id] = self._waiting[campaign_id] = shown
            self.news.set()

    def offer_heading(self, entries: str) -> None:
        """Replace what waits of the page itself, unless it has it already."""
        if self._heading != entries:
            self._heading = self._waiting_heading = entries
            self.news.set()

    def take(self) -> News | None:
        """Return what waits; None: nothing does."""
        self.news.clear()
        rows, self._waiting = list(self._waiting.values()), {}
        heading, self._waiting_heading = self._waiting_heading, ""
        if not (rows or heading):
            return None
        return News(
            f'{{{heading}"rows": [{", ".join(row.json for row in rows)}]}}',
            rows[0].revision if len(rows) == 1 else None,
            any(row.ended for row in rows),
        )

    def end(self) -> None:
        """Let the page know that nothing more comes: it asks again."""
        self.is_over = True
        self.news.set()


class Live:
    """The open pages of all organisations.

    Args:
        views: reads campaigns.
        interval: between two reads, seconds.
    """

    def __init__(self, views: CampaignViews, *, interval: float = INTERVAL) -> None:
        self._views = views
        self._interval = interval
        self._pages: dict[str, set[Follower]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @contextmanager
    def following(
        self, organisation: str, ids: Collection[str], *, listing: bool
    ) -> Iterator[Follower]:
        """Follow campaigns of an organisation while the block runs."""
        page = Follower(ids, listing=listing)
        self._pages.setdefault(organisation, set()).add(page)
        if organisation not in self._tasks:
            task = asyncio.create_task(self._follow(organisation), name="live")
            self._tasks[organisation] = task
        try:
            yield page
        finally:
            pages = self._pages[organisation]
            pages.discard(page)
            if not pages:
                del self._pages[organisation]
                self._tasks.pop(organisation).cancel()

    async def _follow(self, organisation: str) -> None:
        recent = RecentSamples()
        shown: dict[str, Shown] = {}
        while True:
            pages = set(self._pages.get(organisation, ()))
            # The pages say that they are not live, and ask again.
            try:
                found = await self._read(organisation, pages, recent)
                shown = _shown(found, shown)
                _offer(found, shown, pages)
            except ServiceError as error:
                log.info("live_pages_ended", organisation=organisation, reason=error.reason)
                _end(pages)
            except Exception:
                log.exception("live_pages_failed", organisation=organisation)
                _end(pages)
            await asyncio.sleep(self._interval)

    async def _read(
        self, organisation: str, pages: Collection[Follower], recent: RecentSamples
    ) -> Followed:
        ids = {one for page in pages for one in page.ids}
        detailed = {one for page in pages if not page.is_list for one in page.ids}
        return await self._views.followed(organisation, ids, detailed, recent)


def _end(pages: Collection[Follower]) -> None:
    for page in pages:
        page.end()


def _shown(found: Followed, before: Mapping[str, Shown]) -> dict[str, Shown]:
    """Return what pages show of each campaign; what is as before is the same object."""
    shown = {}
    for campaign_id, finding in found.findings.items():
        row = row_event(finding, found.paces[campaign_id])
        text = json.dumps(row, ensure_ascii=False)
        now = Shown(text, row["revision"], row["ended"])
        known = before.get(campaign_id)
        shown[campaign_id] = known if known == now else now
    return shown


def _offer(found: Followed, shown: Mapping[str, Shown], pages: Collection[Follower]) -> None:
    about = {
        "needy": found.needy_campaigns,
        "text": {
            "lede": lede(found.needy_campaigns, found.other_open_campaigns),
            "heading": heading_of(found.needy_campaigns),
        },
    }
    heading = json.dumps(about, ensure_ascii=False)[1:-1] + ", "
    for page in pages:
        if page.is_list:
            page.offer_heading(heading)
        for campaign_id in page.ids & shown.keys():
            page.offer(campaign_id, shown[campaign_id])


def row_event(found: Finding, pace: Pace) -> dict[str, Any]:
    """Return what a page shows of a campaign, finished."""
    campaign, it = found.campaign, found.standing
    sentence, _, second = found.explanation.partition("\n")
    parts = bar_of(campaign)
    state = states.shown(it)
    last = campaign.progress_time
    return {
        "c": campaign.campaign_id,
        "revision": campaign.revision,
        "version": version_of(found),
        "ended": it.state.is_terminal,
        "state": list(state),
        "text": figures(campaign, pace)
        | {
            "sentence": sentence,
            "second": second,
            "action": found.action,
            "progress": progress(it),
        },
        "bar": [[part.name, part.width] for part in parts.parts],
        "label": parts.label,
        "last": [formats.machine(last), formats.when(last)] if last else [],
    }
