"""Pages of results and of missing messages, and the file of all results."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator

import httpx
import pytest

from closeout_cli.result_lines import safe_cell
from integration.dashboard_support import Browser, Pages
from integration.databases import PATIENCE_SECONDS
from integration.page_reader import Document
from integration.status_support import FAILED, SKIPPED, eventually, reporting, results
from service_runtime.errors import StoreUnavailableError
from status_service.reads.service import CampaignViews


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[Browser]:
    """A browser of somebody who may only read."""
    async with pages.browser(scopes=("read",)) as found:  # type: ignore[arg-type]
        yield found


async def _some(pages: Pages) -> None:
    await pages.status.start("a", 300)
    await pages.status.report(
        "a",
        *results(range(1, 200, 2)),
        *results(range(2, 100, 2), FAILED, code="550", detail="5.1.1 No such mailbox here"),
        *results(range(100, 140, 2), FAILED, code="552", detail="full", attempt=3),
        *results([200], SKIPPED, code="suppressed"),
    )


def _rows(document: Document) -> int:
    return document.html.count('<tr id="m')


async def test_results_come_in_pages(pages: Pages, browser: Browser) -> None:
    """A hundred a page, in their order, with a way on and a way back to the first."""
    await _some(pages)
    document = await browser.open("/campaigns/a/results")
    assert document.headings == ["Results"]
    assert document.title == "Results · a · Closeout"
    assert _rows(document) == 100
    seen = _rows(document)
    while "Next page" in document.links:
        document = await browser.open(document.links["Next page"])
        seen += _rows(document)
        assert document.links["First page"] == "/campaigns/a/results"
    assert seen == 170


@pytest.mark.parametrize(
    ("query", "rows", "heading"),
    [
        ("outcome=failed", 69, "Failed messages"),
        ("code=552", 20, "Results with the code 552"),
        ("outcome=failed&code=550", 49, "Failed messages with the code 550"),
        ("outcome=sent&code=550", 0, "Sent messages with the code 550"),
        ("outcome=unknown", 0, "Unknown messages"),
    ],
)
async def test_results_can_be_filtered(
    pages: Pages, browser: Browser, query: str, rows: int, heading: str
) -> None:
    """By outcome, by code, or by both."""
    await _some(pages)
    document = await browser.open(f"/campaigns/a/results?{query}")
    assert document.headings == [heading]
    assert _rows(document) == rows
    if not rows:
        assert document.links["Show all."] == "/campaigns/a/results"
    assert document.links["Download"].endswith(f".csv?{query}")


async def test_a_result_shows_what_was_said(pages: Pages, browser: Browser) -> None:
    """The number, the tries, the code and the words of the provider."""
    await _some(pages)
    document = await browser.open("/campaigns/a/results?code=552")
    assert "100Failed3552full" in document.text


@pytest.mark.parametrize("query", ["outcome=lost", "code=" + "x" * 65, "code=%00", "page=nonsense"])
async def test_a_wrong_question_is_said(pages: Pages, browser: Browser, query: str) -> None:
    """What is no outcome, no code and no page is refused, and says why."""
    await _some(pages)
    document = await browser.open(f"/campaigns/a/results?{query}", 400)
    assert query.partition("=")[0] in document.text


async def test_what_is_rare_is_looked_for_further(
    pages: Pages, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks at a bounded number of results, and says that there may be more."""
    monkeypatch.setattr("status_service.reads.some_results._LOOKED_AT", 3)
    monkeypatch.setattr("status_service.dashboard.result_pages._MOST_READS", 2)
    await pages.status.start("a", 20)
    await pages.status.report("a", *results(range(1, 20)), *results([20], FAILED, code="550"))
    document = await browser.open("/campaigns/a/results?code=550")
    assert "None was found so far." in document.text
    looks = 0
    while not _rows(document):
        document = await browser.open(document.links["Look further"])
        looks += 1
    assert looks == 3


async def test_no_results_are_said(pages: Pages, browser: Browser) -> None:
    """A campaign that has none, and one that is not sealed."""
    await pages.status.client.create_campaign(campaign_id="a")
    assert "No message has a result yet." in (await browser.open("/campaigns/a/results")).text
    said = "It is not sealed yet: nobody knows how many messages it has."
    assert said in (await browser.open("/campaigns/a/missing")).text


async def test_missing_messages_far_behind_are_looked_for_further(
    pages: Pages, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks at a bounded number of results, and says that there may be more."""
    monkeypatch.setattr("status_service.recording.gaps._WINDOW", 3)
    monkeypatch.setattr("status_service.recording.gaps.PAGE_WINDOWS", 1)
    monkeypatch.setattr("status_service.dashboard.result_pages._MOST_READS", 2)
    await pages.status.start("a", 20)
    await pages.status.report("a", *results(range(1, 20)))
    document = await browser.open("/campaigns/a/missing")
    assert "None was found so far." in document.text
    looks = 0
    while "Look further" in document.links:
        document = await browser.open(document.links["Look further"])
        looks += 1
    assert looks == 3
    assert document.html.count("<tr>") == 2, "its heading, and the one range"


async def test_missing_messages_are_ranges(pages: Pages, browser: Browser) -> None:
    """Each range with how many messages it has, a hundred ranges a page."""
    await pages.status.start("a", 1_000)
    await pages.status.report("a", *results(range(2, 300, 2)))
    document = await browser.open("/campaigns/a/missing")
    assert document.title == "No result yet · a · Closeout"
    assert document.html.count("<tr>") == 101
    document = await browser.open(document.links["Next page"])
    assert "299 \u2013 1,000" in document.text
    await pages.status.start("b", 1)
    await pages.status.report("b", *results([1]))
    assert "Every message has a result." in (await browser.open("/campaigns/b/missing")).text


async def test_the_file_has_all_results(pages: Pages, browser: Browser) -> None:
    """Thousands of them, with cells that no spreadsheet takes for a formula."""
    formula = '=HYPERLINK("http://evil.example")'
    await pages.status.start("a", 3_000)
    async with reporting(pages.status.client) as stream:
        for first in range(1, 3_000, 1_000):
            numbers = range(first, first + 1_000)
            frame = await stream.send("a", *results(numbers, FAILED, code="+1", detail=formula))
        await stream.acked(frame)
    answer = await browser.http.get("/campaigns/a/results.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="a-results.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(row["sequence"]) for row in rows] == list(range(1, 3_001))
    assert {row["detail"] for row in rows} == {safe_cell(formula)}
    assert {row["code"] for row in rows} == {"'+1"}
    answer = await browser.http.get("/campaigns/a/results.csv?outcome=sent")
    assert answer.text.count("\n") == 1


async def test_a_file_that_breaks_off_is_no_whole_file(
    pages: Pages, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database fails in the middle, the connection does, so that nobody trusts it."""
    await pages.status.start("a", 3_000)
    async with reporting(pages.status.client) as stream:
        for first in range(1, 3_000, 1_000):
            frame = await stream.send("a", *results(range(first, first + 1_000)))
        await stream.acked(frame)
    reads = 0
    real = CampaignViews.list_results

    async def failing(*args: object, **named: object) -> object:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise StoreUnavailableError("the database does not answer")
        return await real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(CampaignViews, "list_results", failing)
    with pytest.raises(httpx.RemoteProtocolError):
        await browser.http.get("/campaigns/a/results.csv")


async def test_a_reader_who_goes_away_ends_the_reads(
    pages: Pages, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever closes the download in the middle leaves nothing behind that still reads."""
    await pages.status.start("a", 1)
    await pages.status.report("a", *results([1], FAILED, detail="x" * 500))
    reads = 0
    real = CampaignViews.list_results

    async def endless(*args: object, **named: object) -> object:
        nonlocal reads
        reads += 1
        page = await real(*args, **named)  # type: ignore[arg-type]
        more: dict[str, object] = {"rows": list(page.rows) * 1_000, "next_page_token": "again"}
        return page._replace(**more)

    async def first_page(*args: object, **named: object) -> object:
        request = args[3]._replace(token="")  # type: ignore[attr-defined]
        return await endless(*args[:3], request, **named)

    monkeypatch.setattr(CampaignViews, "list_results", first_page)
    async with browser.http.stream("GET", "/campaigns/a/results.csv") as answer:
        async for _ in answer.aiter_bytes():
            break

    async def stands_still() -> bool:
        before = reads
        await asyncio.sleep(0.1)
        return reads == before

    async with asyncio.timeout(PATIENCE_SECONDS):
        await eventually(stands_still, what="nobody reads any more")
