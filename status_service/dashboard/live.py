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
from status_service.dashboard.summary import heading, lede
from status_service.reads.sampled import RecentSamples

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from status_service.campaigns.repair import Finding
    from status_service.reads.followed import Followed
    from status_service.reads.pace import Pace
    from status_service.reads.service import CampaignViews

log = structlog.get_logger()

#: Between two reads, seconds.
INTERVAL = 0.5
#: Pages that are followed at once; each has a connection, and others need some as well.
MOST_PAGES = 600
#: Where news stand that are about no campaign; no id is empty.
_ABOUT = ""


class News(NamedTuple):
    """What is new on open pages.

    Attributes:
        text: the same in JSON, written once for all pages.
        revision: of the campaign; 0: it is about the list.
        ended: the campaign has ended.
    """

    text: str
    revision: int = 0
    ended: bool = False


class Event(NamedTuple):
    """What a page is sent.

    Attributes:
        data: in JSON: what is said of the list, and the rows.
        revision: of its only row; 0: it has none, or several.
        ended: one of its campaigns has ended.
    """

    data: str
    revision: int
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
        self._waiting: dict[str, News] = {}
        self._given: dict[str, str] = {}

    def offer(self, key: str, news: News) -> None:
        """Replace what waits under ``key``, unless the page has it already."""
        if self._given.get(key) != news.text:
            self._given[key] = news.text
            self._waiting[key] = news
            self.news.set()

    def take(self) -> Event | None:
        """Return what waits, as an event of the page; None: nothing does."""
        self.news.clear()
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return None
        about = waiting.pop(_ABOUT, None)
        rows = list(waiting.values())
        head = f"{about.text[1:-1]}, " if about else ""
        data = f'{{{head}"rows": [{", ".join(row.text for row in rows)}]}}'
        revision = rows[0].revision if len(rows) == 1 else 0
        return Event(data, revision, any(row.ended for row in rows))

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
        self._turn = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def is_full(self) -> bool:
        """True if no further page can be followed now."""
        return sum(map(len, self._pages.values())) >= MOST_PAGES

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
        loop = asyncio.get_running_loop()
        recent = RecentSamples()
        while True:
            # Pages take turns, and half of the time is for others at least, however many
            # organisations have pages open: results come first.
            async with self._turn:
                begin = loop.time()
                await self._tend(organisation, recent)
                await asyncio.sleep(loop.time() - begin)
            await asyncio.sleep(self._interval)

    async def _tend(self, organisation: str, recent: RecentSamples) -> None:
        """Offer what is new to the pages of an organisation, or end them."""
        pages = set(self._pages.get(organisation, ()))
        # The pages say that they are not live, and ask again.
        try:
            _offer(await self._read(organisation, pages, recent), pages)
        except ServiceError as error:
            log.info("live_pages_ended", organisation=organisation, reason=error.reason)
            _end(pages)
        except Exception:
            log.exception("live_pages_failed", organisation=organisation)
            _end(pages)

    async def _read(
        self, organisation: str, pages: Collection[Follower], recent: RecentSamples
    ) -> Followed:
        ids = {one for page in pages for one in page.ids}
        detailed = {one for page in pages if not page.is_list for one in page.ids}
        counting = any(page.is_list for page in pages)
        return await self._views.followed(
            organisation, ids, detailed, counting=counting, recent=recent
        )


def _end(pages: Collection[Follower]) -> None:
    for page in pages:
        page.end()


def _offer(found: Followed, pages: Collection[Follower]) -> None:
    rows = {
        campaign_id: _news(row_event(finding, found.paces[campaign_id]))
        for campaign_id, finding in found.findings.items()
    }
    about = News(
        _text(
            {
                "needy": found.needy_campaigns,
                "text": {
                    "lede": lede(found.needy_campaigns, found.other_open_campaigns),
                    "heading": heading(found.needy_campaigns),
                },
            }
        )
    )
    for page in pages:
        if page.is_list:
            page.offer(_ABOUT, about)
        for campaign_id in page.ids & rows.keys():
            page.offer(campaign_id, rows[campaign_id])


def _news(row: dict[str, Any]) -> News:
    return News(_text(row), row["revision"], row["ended"])


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


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
