"""The results of a campaign, those that are missing, and all of them as a file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

from starlette.responses import StreamingResponse

from service_runtime.caller import Scope
from service_runtime.errors import InvalidRequestError, KeyInvalidError
from service_runtime.pages import Page, PageRequest
from status_service.dashboard import formats, results_csv
from status_service.dashboard.bar import LABELS
from status_service.dashboard.gate import is_still_admitted
from status_service.dashboard.visit import Page as WebPage
from status_service.dashboard.visit import Visit
from status_service.domain import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from starlette.responses import Response

    from status_service.dashboard.sender_link import Answer

#: Rows of a page, and reads for one at most.
_ROWS, _MOST_READS = 100, 20
#: How often a download asks if its session holds, seconds.
_ASK_SECONDS = 5.0
#: Longest code there is.
_LONGEST_CODE = 64
_Read: TypeAlias = "Callable[[PageRequest], Awaitable[Page]]"
_OUTCOMES = {outcome.name.lower(): outcome for outcome in reversed(Outcome)}


class Line(NamedTuple):
    """A result as a row of the page."""

    sequence: int
    outcome: str
    label: str
    attempt: int
    code: str
    detail: str
    finish_time: datetime | None
    key: str
    address: str


class Person(NamedTuple):
    """Who a message goes to: the key that its owner has for it, and the address."""

    key: str
    address: str


class Filter(NamedTuple):
    """A link that shows some of the results."""

    label: str
    address: str
    is_current: bool


def _line(people: Mapping[int, Person], row: Any) -> Line:
    person = people.get(row.sequence, Person("", ""))
    name = Outcome(row.outcome).name.lower()
    return Line(
        row.sequence,
        name,
        LABELS[name],
        row.attempt,
        formats.clean(row.code),
        formats.clean(row.detail),
        row.finish_time,
        person.key,
        person.address,
    )


def _asked(visit: Visit) -> tuple[str, str]:
    """Return the outcome and the code that are asked for; empty: all.

    Raises:
        InvalidRequestError: there are no such results.
    """
    query = visit.request.query_params
    outcome, code = query.get("outcome", ""), query.get("code", "")
    if outcome and outcome not in _OUTCOMES:
        raise InvalidRequestError.of({"outcome": f"take one of {', '.join(_OUTCOMES)}"})
    if len(code) > _LONGEST_CODE or "\x00" in code:
        raise InvalidRequestError.of({"code": f"take at most {_LONGEST_CODE} characters, no NUL"})
    return outcome, code


def _address(place: str, **query: str) -> str:
    given = {name: value for name, value in query.items() if value}
    return f"{place}?{urlencode(given)}" if given else place


async def show(visit: Visit) -> Response:
    """Show a page of results."""
    outcome, code = _asked(visit)
    board, place = visit.board, f"/campaigns/{quote(visit.campaign_id)}/results"
    campaign = await board.views.get(visit.caller, visit.campaign_id)
    token = visit.request.query_params.get("page", "")
    page = await _first_found(partial(_read, visit, outcome, code), token)
    asked = [row.sequence for row in page.rows]
    answer = await board.sender.recipients(visit.caller, visit.campaign_id, asked)
    people = people_of(answer)
    filters = [
        Filter(LABELS.get(name, "All"), _address(place, outcome=name, code=code), name == outcome)
        for name in ("", *_OUTCOMES)
    ]
    return visit.render(
        "results.html",
        now=await board.clock(),
        campaign=campaign,
        name=campaign.display_name or campaign.campaign_id,
        heading=heading(outcome, code),
        nothing=none_found(outcome, code),
        filters=filters,
        outcome=outcome,
        code=code,
        lines=[_line(people, row) for row in page.rows],
        has_people=bool(people),
        has_keys=any(person.key for person in people.values()),
        unasked=answer.note if board.sender.is_configured and page.rows else "",
        is_first="page" not in visit.request.query_params,
        first=_address(place, outcome=outcome, code=code),
        older=page.next_page_token
        and _address(place, outcome=outcome, code=code, page=page.next_page_token),
        download=_address(f"{place}.csv", outcome=outcome, code=code),
    )


async def _read(visit: Visit, outcome: str, code: str, request: PageRequest) -> Page:
    return await visit.board.views.list_results(
        visit.caller,
        visit.campaign_id,
        request,
        outcomes=[_OUTCOMES[outcome]] if outcome else [],
        codes=[code] if code else [],
    )


async def _first_found(read: Callable[[PageRequest], Awaitable[Page]], token: str) -> Page:
    """Return the page that is asked for.

    A read looks at a bounded number of results. Where none of them is one that is asked
    for, the next are looked at, but not without a bound either.
    """
    for _ in range(_MOST_READS):
        page = await read(PageRequest(_ROWS, token))
        token = page.next_page_token
        if page.rows or not token:
            break
    return page


def people_of(answer: Answer) -> dict[int, Person]:
    """Return who messages go to, by their numbers; empty where the sender has not said."""
    if answer.message is None:
        return {}
    return {
        one.sequence: Person(formats.clean(one.recipient_key), formats.clean(one.address))
        for one in answer.message.recipients
    }


def heading(outcome: str, code: str) -> str:
    """Return what results are shown, as a heading."""
    what = f"{LABELS[outcome]} messages" if outcome else "Results"
    return f"{what} with the code {formats.clean(code)}" if code else what


def none_found(outcome: str, code: str) -> str:
    """Return what is said where there is no such result."""
    if code:
        return "No result has this code."
    return f"No message is {outcome}." if outcome else "No message has a result yet."


async def download(visit: Visit) -> Response:
    """Send all results as a file."""
    outcome, code = _asked(visit)
    await visit.board.views.get(visit.caller, visit.campaign_id)  # a refusal is a page
    read = _while_admitted(visit, partial(_read, visit, outcome, code))
    name = f"{visit.campaign_id}-results.csv"
    return StreamingResponse(
        results_csv.lines(read),
        media_type="text/csv; charset=utf-8; header=present",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _while_admitted(visit: Visit, read: _Read) -> _Read:
    """Return ``read`` that ends a download, which may last, with its session."""
    loop = asyncio.get_running_loop()
    asked = loop.time()

    async def checked(request: PageRequest) -> Page:
        nonlocal asked
        if loop.time() - asked >= _ASK_SECONDS:
            asked = loop.time()
            if not await is_still_admitted(visit, Scope.READ):
                raise KeyInvalidError("this session has ended; sign in and download it again")
        return await read(request)

    return checked


class Gap(NamedTuple):
    """A range of messages without a result, and how many they are."""

    shown: str
    messages: int


async def missing(visit: Visit) -> Response:
    """Show the ranges of messages without a result."""
    board, place = visit.board, f"/campaigns/{quote(visit.campaign_id)}/missing"
    campaign = await board.views.get(visit.caller, visit.campaign_id)
    token = visit.request.query_params.get("page", "")
    read = partial(board.views.list_missing_ranges, visit.caller, visit.campaign_id)
    page = await _first_found(read, token)
    return visit.render(
        "missing.html",
        now=await board.clock(),
        campaign=campaign,
        name=campaign.display_name or campaign.campaign_id,
        gaps=_gaps(page.rows),
        is_first=not token,
        first=place,
        older=page.next_page_token and _address(place, page=page.next_page_token),
    )


def _gaps(ranges: Sequence[tuple[int, int]]) -> list[Gap]:
    return [Gap(formats.number_range(first, last), last - first + 1) for first, last in ranges]


_AT = "/campaigns/{campaign_id}"
PAGES = (
    WebPage(f"{_AT}/results", "GET", Scope.READ, show),
    WebPage(f"{_AT}/results.csv", "GET", Scope.READ, download),
    WebPage(f"{_AT}/missing", "GET", Scope.READ, missing),
)
