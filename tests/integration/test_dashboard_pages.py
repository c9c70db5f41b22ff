"""What stands on the pages of campaigns, in order, with the figures of the database."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from acceptance.dashboard_campaigns import populate
from acceptance.dashboard_world import NOW, World, fixed_clock, problem
from integration.dashboard_support import Pages, serving_pages
from integration.databases import PATIENCE_SECONDS, SqliteDatabase
from integration.page_reader import Document
from integration.status_support import FAILED, UNKNOWN, results, status_settings
from providers.plain_http import NO_TLS
from status_service.server import running

NAVIGATED = {"sec-fetch-site": "none"}


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    """A service with pages, and a key, so that people sign in."""
    async with serving_pages(tmp_path) as served:
        yield served


@pytest.fixture
async def still(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Campaigns in every state, at a moment that stays, and whoever may see them."""
    with fixed_clock(NOW):
        database = SqliteDatabase(tmp_path / "status.db")
        populate(database.url, large=20_000)
        async with (
            running(status_settings(database)) as service,
            httpx.AsyncClient(verify=NO_TLS, base_url=f"http://{service.http_address}") as http,
        ):
            yield http


async def test_what_needs_a_person_comes_first(still: httpx.AsyncClient) -> None:
    """Longest without a result on top; below, the others, newest first and not once more."""
    text = Document((await still.get("/")).text).text
    order = [
        "Two campaigns need a person",
        "Two others are open, and nothing is wrong with them.",
        "Autumn renewal notice",
        "Nothing has gone out for 42 min: the mail server refuses the sender's login.",
        "18,240 of 48,200",
        "37.8%",
        "Parcel hook replay",
        "Started 26 min ago, and no sender has reported anything.",
        "Other campaigns",
        "Weekly digest 47",
        "on course",
        "Early access for members, winter collection and gift guide",
        "starts in 21 h",
        "120,000 messages",
        "Welcome, second try",
        "not sealed yet",
        "Password rules change",
        "until it is resumed",
        "Invoice reminders, October",
        "with 12 in doubt",
        "Service notice (wrong list)",
        "ended by its owner",
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places)
    assert text.count("Autumn renewal notice") == 2  # its name, and what its button is about


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("show=open", {"digest-2026-w47", "pw-rules-q4"}),
        ("show=unstarted", {"welcome-b", "early-access-members-winter-2026"}),
        ("show=ended", {"invoices-2026-10", "notice-1119"}),
        ("q=renewal", {"renewal-2026-11"}),
        ("q=list%3Dcustomers", {"renewal-2026-11"}),
        ("q=list%3Dcustomers&show=ended", set()),
        ("q=%00", None),
        ("q=100%25", set()),
        ("show=nonsense", None),
    ],
)
async def test_the_list_shows_what_is_asked_for(
    still: httpx.AsyncClient, query: str, found: set[str] | None
) -> None:
    """By state, by the beginning of an id, by label; what makes no sense is left out."""
    answer = await still.get(f"/?{query}")
    assert answer.status_code == 200
    table = answer.text.partition("<tbody>")[2]
    shown = set(re.findall(r"<code>([^<]+)</code>", table))
    assert shown == found if found is not None else len(shown) == 6
    assert found != set() or "Show all" in answer.text


async def test_a_page_token_of_somebody_else_is_refused(still: httpx.AsyncClient) -> None:
    """With a page that says so, and a way back."""
    answer = await still.get("/?page=nonsense")
    assert answer.status_code == 400
    assert "not a token of this service" in Document(answer.text).text


async def test_a_stalled_campaign_says_what_to_do_before_it_proves_it(
    still: httpx.AsyncClient,
) -> None:
    """The order of its page is the order of reading."""
    text = Document((await still.get("/campaigns/renewal-2026-11")).text).text
    order = [
        "Sending, stalled",
        "started 1 h 11 min ago",
        "Needs a person",
        "Nothing has gone out for 42 min: the mail server refuses the sender's login.",
        "29,960 of 48,200 messages have no result. None is lost: they wait at the sender.",
        "What to do",
        "Correct CLOSEOUT_SMTP_USERNAME, CLOSEOUT_SMTP_PASSWORD at the sender",
        "The sender says",
        "535 5.7.8 authentication failed",
        "18,240 of 48,200 messages have a result",
        "Messages a minute",
        "No result since 08:59",
        "143 failed, for 3 reasons",
        "5.1.1 No such mailbox here",
        "What happened",
        "Resumed",
        "approved",
        "Registered",
        "No result yet",
        "4 ranges",
        "Facts",
        "list=customers",
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)]


async def test_counts_lead_to_their_results(still: httpx.AsyncClient) -> None:
    """Each of the five, and each address answers."""
    page = (await still.get("/campaigns/renewal-2026-11")).text
    for link in set(re.findall(r'href="(/campaigns/[^"]+)"', page)):
        answer = await still.get(link.replace("&amp;", "&"))
        assert answer.status_code == 200, link


async def test_no_campaign_at_all_shows_how_to_send_one(pages: Pages) -> None:
    """The two commands; no empty box."""
    async with pages.browser() as browser:
        text = (await browser.open("/")).text
    assert "No campaigns yet." in text
    assert "closeout send welcome.toml --recipients people.csv --watch" in text


async def test_more_than_ten_that_need_a_person_are_counted(tmp_path: Path) -> None:
    """The first ten stand there, and a link leads to the others."""
    database = SqliteDatabase(tmp_path / "status.db")
    with fixed_clock(NOW):
        world = World(database.url, NOW)
        for number in range(12):
            world.add(
                f"campaign-{number}",
                "SENDING",
                total=5,
                problems=[problem(world)],
                start_time=NOW - timedelta(hours=1, minutes=number),
            )
        world.close()
        async with (
            running(status_settings(database)) as service,
            httpx.AsyncClient(verify=NO_TLS, base_url=f"http://{service.http_address}") as http,
        ):
            page = (await http.get("/")).text
    assert page.count("<article") == 10
    assert "Twelve campaigns need a person" in page
    assert "All 12 in Problems" in page
    assert page.index("campaign-11") < page.index("campaign-10<")


async def test_failures_and_doubt_are_told_apart(pages: Pages) -> None:
    """Failures by reason, and who is in doubt by number."""
    await pages.status.start("mixed", 9)
    await pages.status.report(
        "mixed",
        *results([1, 2], FAILED, code="550", detail="no such user"),
        *results([3], FAILED, code="552", detail="mailbox full"),
        *results([4, 5], UNKNOWN, code="in_doubt", detail="the answer was lost"),
    )
    async with pages.browser() as browser:
        text = (await browser.open("/campaigns/mixed")).text
    assert "3 failed, for 2 reasons" in text
    assert "2 in doubt" in text
    assert "In doubt: handed to the provider, and the answer was lost." in text


async def test_results_that_are_not_kept_are_said_and_not_offered(pages: Pages) -> None:
    """The counters and since when stand there; no list, reason or file leads to an error."""
    await pages.status.start("old", 2)
    await pages.status.report("old", *results([1]), *results([2], FAILED, code="550"))
    pages.status.execute("UPDATE campaigns SET results_remove_time = 1893456000000000")
    async with pages.browser() as browser:
        answer = await browser.http.get("/campaigns/old", headers=NAVIGATED)
    text = Document(answer.text).text
    assert "Results removed1 Jan 2030, 00:00:00" in text
    assert "All 2 messages have a result" in text
    assert "1 failed, for" not in text
    assert "Download results" not in text
    assert not re.findall(r'href="/campaigns/old/(?:results|missing)', answer.text)


async def test_the_whole_trail_is_in_pages(pages: Pages) -> None:
    """A campaign that was paused often has more changes than its page shows."""
    await pages.status.start("often", 9)
    client = pages.status.client
    for _ in range(52):
        await client.pause_campaign(campaign_id="often", reason="wait")
        await client.resume_campaign(campaign_id="often")
    async with pages.browser() as browser:
        assert "Older" in (await browser.open("/campaigns/often")).text
        first = await browser.http.get("/campaigns/often/trail", headers=NAVIGATED)
        newer = re.search(r'class="end" href="([^"]+)"', first.text)
        assert newer is not None
        assert first.text.count("<li>") == 100
        last = await browser.http.get(newer[1].replace("&amp;", "&"), headers=NAVIGATED)
        assert last.text.count("<li>") == 6
        assert "That is all." in last.text


async def test_a_stream_has_finished_texts_and_ends_with_its_campaign(pages: Pages) -> None:
    """By the names of their fields; what is new comes once, and the end is the last event."""
    await pages.status.start("short", 2)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        pages.browser() as browser,
        browser.http.stream("GET", "/campaigns/short/events", headers=NAVIGATED) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        lines = answer.aiter_lines()
        seen = []
        async for line in lines:
            if line.startswith("data: "):
                (row,) = json.loads(line.removeprefix("data: "))["rows"]
                seen.append(row)
                if len(seen) == 1:
                    await pages.status.report("short", *results([1, 2]))
    assert (seen[0]["text"]["done"], seen[0]["ended"]) == ("0 of 2", False)
    assert (seen[-1]["text"]["done"], seen[-1]["ended"]) == ("2 of 2", True)
    assert seen[-1]["bar"] == [["sent", "100.0000%"]]
    assert [row["revision"] for row in seen] == sorted(row["revision"] for row in seen)


async def test_a_stream_ends_with_its_session(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so, so that the page can lead to sign-in."""
    monkeypatch.setattr("status_service.dashboard.streams._ASK", 0.1)
    await pages.status.start("long", 2)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        pages.browser() as browser,
        browser.http.stream("GET", "/events", headers=NAVIGATED) as answer,
    ):
        said = ""
        async for line in answer.aiter_lines():
            said += f"{line}\n"
            if line.startswith("data: ") and "signed-out" not in said:
                pages.status.execute("DELETE FROM sessions")
    assert "event: signed-out" in said
