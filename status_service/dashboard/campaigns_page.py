"""The page of all campaigns: what needs a person first, then the others, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from service_runtime.caller import Scope
from service_runtime.pages import PageRequest
from status_service.campaigns import repair
from status_service.dashboard import formats
from status_service.dashboard.rows import Row, row_of
from status_service.dashboard.summary import heading, lede
from status_service.dashboard.visit import Page, Visit
from status_service.domain import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from status_service.reads.values import Overview

#: Campaigns on a page.
_PAGE_SIZE = 50
#: The filters: the word in the address, the word on the page, and the states.
_FILTERS: Mapping[str, tuple[str, tuple[State, ...]]] = {
    "all": ("All", ()),
    "open": ("Open", (State.SENDING, State.PAUSED)),
    "unstarted": ("Not started", (State.DRAFT, State.SCHEDULED)),
    "ended": ("Ended", (State.COMPLETED, State.CANCELLED)),
}
#: What a filter says that finds nothing.
_NONE = {
    "open": "No campaign is open.",
    "unstarted": "No campaign waits for its start.",
    "ended": "No campaign has ended.",
}
_LONGEST_QUERY = 200


class Query(NamedTuple):
    """What of the campaigns is asked for.

    Attributes:
        show: a filter by state.
        q: an id, its beginning, or ``label=value``.
        page: the token of a page.
    """

    show: str
    q: str
    page: str

    @classmethod
    def of(cls, request: Request) -> Query:
        """Read it from the address; what it can't mean is left out."""
        values = request.query_params
        show = values.get("show", "all")
        q = values.get("q", "").strip()[:_LONGEST_QUERY]
        return cls(
            show if show in _FILTERS else "all",
            q if q.isprintable() else "",
            values.get("page", ""),
        )

    @property
    def is_first(self) -> bool:
        """True for the page that people begin with."""
        return not self.q and not self.page

    @property
    def labels(self) -> dict[str, str]:
        """The label that is asked for."""
        label, equals, value = self.q.partition("=")
        return {label.strip(): value.strip()} if equals else {}

    @property
    def id_prefix(self) -> str:
        """How the ids begin that are asked for."""
        return "" if "=" in self.q else self.q

    def address(self, path: str = "/", **changed: str) -> str:
        """Return the address of this query at ``path``, with some of it changed."""
        values = self._asdict() | changed
        asked = {
            name: text for name, text in values.items() if text and (name, text) != ("show", "all")
        }
        return f"{path}?{urlencode(asked)}" if asked else path


class Filter(NamedTuple):
    """A link that shows some of the campaigns."""

    word: str
    address: str
    is_current: bool


class Campaigns(NamedTuple):
    """What the page shows.

    Attributes:
        heading: how many need a person, in a sentence.
        lede: what of the others.
        short: the heading of the title.
        needy: those that need a person, if they stand on this page.
        needy_campaigns: how many there are in all.
        rows: the others.
        filters: links to some of them.
        query: what was asked for.
        older: where the next page is; empty: there is none.
        stream: where the page's changes come from.
        nothing: what is said where there are no rows.
        is_new: there is no campaign at all.
    """

    heading: str
    lede: str
    short: str
    needy: Sequence[Row]
    needy_campaigns: int
    rows: Sequence[Row]
    filters: Sequence[Filter]
    query: Query
    older: str
    stream: str
    nothing: str
    is_new: bool


async def read(visit: Visit, query: Query) -> Overview:
    """Read the campaigns of a query."""
    return await visit.board.views.overview(
        visit.caller,
        PageRequest(_PAGE_SIZE, query.page),
        states=_FILTERS[query.show][1],
        labels=query.labels,
        id_prefix=query.id_prefix,
    )


async def show(visit: Visit) -> Response:
    """Show campaigns."""
    query = Query.of(visit.request)
    found = await read(visit, query)
    campaigns = campaigns_of(found, query, visit)
    return visit.render("campaigns.html", now=found.now, campaigns=campaigns)


def campaigns_of(found: Overview, query: Query, visit: Visit) -> Campaigns:
    """Return what the page shows."""
    needy = [row_of(one, found.paces.get(one.campaign.campaign)) for one in found.needy]
    above = {row.campaign_id for row in needy} if query.is_first else set()
    threshold = visit.board.stall_threshold
    rows = [
        row_of(repair.judge_row(row, threshold, found.now), found.paces.get(row.campaign))
        for row in found.page.rows
        if row.campaign_id not in above
    ]
    is_new = not found.page.rows and query.is_first and query.show == "all"
    token = found.page.next_page_token
    return Campaigns(
        heading=heading(found.needy_campaigns),
        lede="" if is_new else lede(found.needy_campaigns, found.other_open_campaigns),
        short=f"{found.needy_campaigns} need a person"
        if found.needy_campaigns > 1
        else heading(found.needy_campaigns),
        needy=needy if query.is_first else [],
        needy_campaigns=found.needy_campaigns,
        rows=rows,
        filters=[
            Filter(word, query.address(show=name, page=""), query.show == name)
            for name, (word, _) in _FILTERS.items()
        ],
        query=query,
        older=query.address(page=token) if token else "",
        stream=query.address("/events"),
        nothing=_nothing(query),
        is_new=is_new,
    )


def _nothing(query: Query) -> str:
    if query.q:
        if query.labels:
            return f"No campaign has the label {formats.clean(query.q)}."
        return f"No campaign has an id that begins with {formats.clean(query.q)}."
    return _NONE.get(query.show, "There are no others.")


PAGES = (Page("/", "GET", Scope.READ, show),)
