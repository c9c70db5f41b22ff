"""How pages fail: forged forms, ended sessions, missing scopes, what is absent or broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from integration.dashboard_support import Browser, Pages, serving_pages
from integration.databases import Database, PostgresqlDatabase
from integration.page_reader import Document
from integration.status_support import eventually, results
from providers.postgresql_server import PostgresqlServer
from service_runtime.access import OPEN
from service_runtime.caller import Scope
from status_service.campaigns.service import CampaignService
from status_service.dashboard.routes import PAGES
from status_service.dashboard.visit import Page

#: The pages of a campaign, and the forms that change something.
OF_CAMPAIGN = [page for page in PAGES if "{campaign_id}" in page.path]
FORMS = [page for page in PAGES if page.method == "POST" and page.scope != OPEN]


def _name(page: Page) -> str:
    return f"{page.method} {page.path}"


_each_form = pytest.mark.parametrize("page", FORMS, ids=_name)
#: What pages decide by themselves is the same on each kind of database.
_on_one_database = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)


@pytest.fixture
async def pages(database: Database) -> AsyncIterator[Pages]:
    """A service with pages, and a campaign that can be paused, completed and repaired."""
    async with serving_pages(database) as serving:
        await serving.status.stuck("a")
        yield serving


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[Browser]:
    """A browser of somebody who may read, write and repair."""
    async with pages.browser() as found:
        yield found


def _at(path: str, campaign_id: str = "a") -> str:
    return path.format(campaign_id=campaign_id)


def _unchanged(pages: Pages) -> None:
    assert [state for state, _, _ in pages.trail("a")] == ["DRAFT", "SENDING"]


@_on_one_database
@_each_form
async def test_a_form_without_the_token_of_its_session_does_nothing(
    pages: Pages, browser: Browser, page: Page
) -> None:
    """No token, a wrong one, and one of another session: 403, and the form anew, which works."""
    async with pages.browser() as other:
        tokens = ["", "0" * 64, other.token, "ü"]
    for token in tokens:
        headers = {"origin": browser.origin, "sec-fetch-site": "same-origin"}
        answer = await browser.http.post(_at(page.path), data={"token": token}, headers=headers)
        assert answer.status_code == 403
        document = Document(answer.text)
        assert document.alerts == ["This form is too old. Nothing was changed."]
        assert document.focused == document.alerts[0]
        form_page = await browser.open(_at(page.form_at))
        assert document.headings == form_page.headings
    _unchanged(pages)


@_on_one_database
async def test_the_form_that_is_shown_again_has_a_token_that_holds(
    pages: Pages, browser: Browser
) -> None:
    """Whoever was too late sends the form again; the reason that was typed is kept."""
    await pages.status.start("b", 4)
    pages.age("b")
    form = (await browser.open("/campaigns/b/complete")).form("Record 4 as UNKNOWN and complete")
    answer = await browser.send(form, ticked=["confirm"], reason="gone", token="")
    assert answer.status_code == 403
    again = Document(answer.text).form("Record 4 as UNKNOWN and complete")
    assert again.fields["reason"] == "gone"
    assert (await browser.send(again, ticked=["confirm"])).status_code == 303


_ELSEWHERE: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
]


@_on_one_database
@_each_form
async def test_a_form_of_another_site_does_nothing(
    pages: Pages, browser: Browser, page: Page
) -> None:
    """With the right token and cookie: another origin, none, and a browser that says so."""
    token = browser.token
    for headers in _ELSEWHERE:
        answer = await browser.http.post(_at(page.path), data={"token": token}, headers=headers)
        assert answer.status_code == 403, headers
        assert "Nothing was changed." in Document(answer.text).text
    _unchanged(pages)


@_on_one_database
@_each_form
async def test_no_form_is_taken_by_get(pages: Pages, browser: Browser, page: Page) -> None:
    """What a form sends, as a link: nothing is done."""
    token = browser.token
    query = {"token": token, "reason": "x", "force": "1", "confirm": "0", "revision": "3"}
    answer = await browser.http.get(_at(page.path), params=query)
    assert answer.status_code in {200, 303}
    _unchanged(pages)


@_on_one_database
@_each_form
async def test_a_form_after_the_session_leads_to_sign_in_and_back(
    pages: Pages, browser: Browser, page: Page
) -> None:
    """Nothing is done, what was typed is lost, and the page says so."""
    token = browser.token
    pages.status.execute("DELETE FROM sessions")
    answer = await browser.http.post(
        _at(page.path), data={"token": token}, headers={"origin": browser.origin}
    )
    assert answer.status_code == 303
    document = await browser.open(answer.headers["location"])
    assert "what you typed is lost" in document.text
    assert document.forms[0].fields["next"] == _at(page.form_at)
    _unchanged(pages)


@_on_one_database
async def test_a_page_after_the_session_leads_to_sign_in_and_back(
    pages: Pages, browser: Browser
) -> None:
    """The address with its query is where signing in leads."""
    pages.status.execute("DELETE FROM sessions")
    answer = await browser.http.get("/campaigns/a/results?outcome=failed&code=550")
    assert answer.status_code == 303
    document = await browser.open(answer.headers["location"])
    assert "Your session has ended. Sign in to go on." in document.text
    assert document.forms[0].fields["next"] == "/campaigns/a/results?outcome=failed&code=550"


@_on_one_database
@pytest.mark.parametrize("page", [page for page in PAGES if page.scope != OPEN], ids=_name)
async def test_a_key_without_the_scope_reads_which_it_needs(pages: Pages, page: Page) -> None:
    """403, with the scope that is missing and those that the key has; nothing is done."""
    others = tuple(scope for scope in Scope if scope not in {page.scope, Scope.SERVICE})
    async with pages.browser(scopes=others) as browser:
        headers = {"origin": browser.origin}
        answer = await browser.http.request(page.method, _at(page.path), headers=headers)
        assert answer.status_code == 403
        text = Document(answer.text).text
        has = ", ".join(sorted(others))
        assert f"This needs a key with the scope {page.scope}; yours, ops, has {has}." in text
    _unchanged(pages)


@pytest.mark.parametrize("page", OF_CAMPAIGN, ids=_name)
async def test_a_campaign_of_another_organisation_is_an_absent_one(
    pages: Pages, page: Page
) -> None:
    """The same bytes on every page and for every form: nobody learns what others have."""
    async with pages.browser(organisation="south") as south:
        token = south.token if page.method == "POST" else ""
        answers = []
        for campaign_id in ("a", "b"):  # one of another organisation, and one of nobody
            answer = await south.http.request(
                page.method,
                _at(page.path, campaign_id),
                data={"token": token, "revision": "3"} if token else None,
                headers={"origin": south.origin},
            )
            said = answer.text.replace(f"campaign {campaign_id} here", "campaign … here")
            answers.append((answer.status_code, dict(answer.headers) | {"date": ""}, said))
        if answers[0][0] == 303:  # where a form was: it leads to the campaign's page
            locations = [headers["location"] for _, headers, _ in answers]
            assert locations == ["/campaigns/a", "/campaigns/b"]
            return
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
        assert "There is no campaign … here." in answers[0][2]
    _unchanged(pages)


@pytest.mark.parametrize("campaign_id", ["ä", "%00", "a%20b", "x" * 129, "-a"])
async def test_what_can_be_no_campaign_is_absent_too(
    pages: Pages, browser: Browser, campaign_id: str
) -> None:
    """An id that no campaign can have is not found, whatever is asked of it."""
    token = browser.token
    for page in OF_CAMPAIGN:
        answer = await browser.http.request(
            page.method,
            _at(page.path, campaign_id),
            data={"token": token, "revision": "1"} if page.method == "POST" else None,
            headers={"origin": browser.origin},
        )
        assert answer.status_code in {303, 404}, _name(page)
    _unchanged(pages)


async def test_a_defect_is_logged_and_named(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has the id of the line in the log, and says that nothing was changed."""

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(CampaignService, "repair", broken)
    token = browser.token
    for path, data in (("/problems?again", None), ("/problems/fix", {"token": token})):
        with capture_logs() as logs:
            answer = await browser.http.request(
                "POST" if data else "GET", path, data=data, headers={"origin": browser.origin}
            )
        assert answer.status_code == 500
        (line,) = [line for line in logs if line["event"] == "page_failed"]
        text = Document(answer.text).text
        assert "Something is broken in Closeout." in text
        assert "Nothing was changed by this page; the log has more under error_id" in text
        assert line["error_id"] in text
        assert "a defect" not in text


@pytest.fixture(scope="module")
def broken_server() -> Iterator[PostgresqlServer]:
    """A server to break."""
    with PostgresqlServer() as server:
        yield server


async def test_a_database_that_is_down_is_said_and_nothing_is_lost(
    broken_server: PostgresqlServer,
) -> None:
    """503 with Retry-After on every page; of a form it says that nobody knows; then all is well."""
    place = PostgresqlDatabase(broken_server.create_database())
    async with serving_pages(place) as pages:
        await pages.status.start("a", 3)
        await pages.status.report("a", *results([1]))
        async with pages.browser() as browser:
            token = browser.token
            await asyncio.to_thread(broken_server.kill)
            try:
                await _all_pages_say_it(browser, token)
            finally:
                await asyncio.to_thread(broken_server.start)

            async def answers() -> bool:
                return (await browser.http.get("/campaigns/a/results")).status_code == 200

            await eventually(answers, what="the pages answer again")
            document = await browser.open("/campaigns/a/cancel")
            assert "2 messages are not sent" in document.text


async def _all_pages_say_it(browser: Browser, token: str) -> None:
    said = (
        "The status service runs, and its database does not answer. Nothing that was"
        " acknowledged is lost."
    )
    for page in PAGES:
        if page.scope == OPEN:
            continue
        answer = await browser.http.request(
            page.method,
            _at(page.path),
            data={"token": token} if page.method == "POST" else None,
            headers={"origin": browser.origin},
        )
        assert answer.status_code == 503, _name(page)
        assert answer.headers["retry-after"] == "5"
        document = Document(answer.text)
        assert said in document.text, _name(page)
        not_known = "It is not known to have happened. Look before you repeat it."
        assert (not_known in document.text) == (page.method == "POST")
        way = "Back to the page" if page.method == "POST" else "Reload"
        assert way in document.links
