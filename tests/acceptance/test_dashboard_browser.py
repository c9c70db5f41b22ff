"""Pages in Chromium: what a person sees, with and without a script, on every width."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from acceptance.browser import COLOURS, WIDTHS, tab
from acceptance.dashboard_campaigns import FOREIGN, add_foreign, add_one_that_ends, populate
from acceptance.dashboard_world import World
from integration.databases import SqliteDatabase
from integration.status_support import status_settings
from status_service.server import running

#: A page of each kind, with its path.
PATHS = {
    "campaigns": "/",
    "found": "/?q=list%3Dbilling",
    "none": "/?q=nothing",
    "stalled": "/campaigns/renewal-2026-11",
    "never started": "/campaigns/parcel-replay-1125",
    "sending": "/campaigns/digest-2026-w47",
    "paused": "/campaigns/pw-rules-q4",
    "scheduled": "/campaigns/early-access-members-winter-2026",
    "draft": "/campaigns/welcome-b",
    "completed": "/campaigns/invoices-2026-10",
    "cancelled": "/campaigns/notice-1119",
}
SOME = ("campaigns", "none", "stalled", "completed")
#: Text on white is darker than this, as the sum of red, green and blue.
DARK = 300
LONGEST = "/campaigns/long"


@dataclass
class Place:
    """A service with campaigns in every state, where nobody has to sign in."""

    address: str
    database: SqliteDatabase

    def execute(self, statement: str, *values: object) -> None:
        """Change its database by hand."""
        with self.database.by_hand() as connection:
            connection.execute(statement, values)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """Serve campaigns in every state, and some with foreign words."""
    database = SqliteDatabase(tmp_path_factory.mktemp("pages") / "status.db")
    now = datetime.now(UTC)
    populate(database.url, now, large=20_000)
    add_foreign(database.url, now)
    add_one_that_ends(database.url, now)
    async with running(status_settings(database, reconcile_interval_seconds=3_600)) as service:
        yield Place(service.http_address, database)


async def test_axe_has_nothing_against_any_page(chromium_browser: Browser, place: Place) -> None:
    """WCAG 2.2 A and AA and best practices in every state; colours in both schemes."""
    found = {}
    async with tab(chromium_browser, place.address) as opened:
        for name, path in PATHS.items():
            await opened.open(path)
            found[name] = await opened.violations_in_both_schemes()
    assert not any(found.values()), json.dumps(found, indent=1)


async def test_axe_has_nothing_against_pages_on_a_phone(
    chromium_browser: Browser, place: Place
) -> None:
    """Tables are cards there, and columns stand one below the other."""
    found = {}
    async with tab(chromium_browser, place.address, width=360) as opened:
        for name in SOME:
            await opened.open(PATHS[name])
            found[name] = await opened.violations()
    assert not any(found.values()), json.dumps(found, indent=1)


async def test_nothing_scrolls_sideways(chromium_browser: Browser, place: Place) -> None:
    """The narrowest window is one of 1280 pixels at 400 %; texts are as long as they may be."""
    wider = {}
    async with tab(chromium_browser, place.address) as opened:
        for path in [*PATHS.values(), LONGEST]:
            await opened.open(path)
            for width in WIDTHS:
                if overflow := await opened.overflow(width):
                    wider[f"{path}, {width}"] = overflow
    assert not wider


async def test_paper_and_forced_colours_keep_every_word(
    chromium_browser: Browser, place: Place
) -> None:
    """A dark scheme is printed dark on white and fits; forced colours keep bar and actions."""
    state = ".list .state"
    async with tab(chromium_browser, place.address, scheme="dark") as opened:
        page = opened.page
        await page.emulate_media(media="print", color_scheme="dark")
        await opened.open("/")
        for width in (718, 1280):
            assert await opened.overflow(width) == 0, width
        assert await opened.violations(COLOURS) == []
        for text in (await page.locator(state).all())[:3]:
            await expect(text).to_be_visible()
        await expect(page.locator(".bar svg").first).to_be_visible()
        assert await _luminance(page, state) < DARK
        await opened.open(PATHS["stalled"])
        assert await opened.violations(COLOURS) == []
        await expect(page.locator(".actions")).to_be_hidden()
        await page.emulate_media(media="screen", color_scheme="dark", forced_colors="active")
        await expect(page.locator(".actions .btn").first).to_be_visible()
        assert await page.evaluate("matchMedia('(forced-colors: active)').matches")
        shown = "element => getComputedStyle(element)"
        button = page.locator(".actions .btn").first
        assert await button.evaluate(f"{shown}.borderStyle") == "solid"
        bar = page.locator(".bar svg").first
        assert await bar.evaluate(f"{shown}.forcedColorAdjust") == "none"


async def _luminance(page: Page, selector: str) -> int:
    """Return how light the text of an element is: 0 is black, 765 is white."""
    colour = await page.locator(selector).first.evaluate("e => getComputedStyle(e).color")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


@pytest.mark.parametrize("path", ["/", "/?q=foreign", "/campaigns/foreign", "/problems"])
async def test_foreign_words_stay_words(chromium_browser: Browser, place: Place, path: str) -> None:
    """A name, a reason, a code and a detail that are markup are shown as they read."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open(path)
        assert await opened.page.locator("img").count() == 0
        assert FOREIGN in await opened.page.locator("main").inner_text()


async def test_control_characters_are_shown(chromium_browser: Browser, place: Place) -> None:
    """A character that turns the direction of a text is shown, and turns nothing."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open("/campaigns/control")
        assert await opened.page.locator("h1").inner_text() == "a�b�c"


@pytest.mark.parametrize("path", ["/", "/campaigns/digest-2026-w47"])
async def test_figures_change_in_place(chromium_browser: Browser, place: Place, path: str) -> None:
    """New results are on the open page within moments, and nothing on it moves."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open(path)
        await expect(opened.page.locator("#live-text")).to_have_text("Live")
        await opened.page.wait_for_timeout(200)
        before = await opened.shift()
        assert before < 0.001
        for number in (12_346, 12_347):
            place.execute(
                "UPDATE campaigns SET sent = ?, revision = revision + 1 WHERE campaign_id = ?",
                number,
                "digest-2026-w47",
            )
            shown = opened.page.get_by_text(f"{number + 1:,} of").first
            await expect(shown).to_be_visible()
        assert await opened.shift() == before


async def test_an_older_revision_is_dropped(chromium_browser: Browser, place: Place) -> None:
    """What comes late does not bring figures back."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open("/campaigns/pw-rules-q4")
        await expect(opened.page.locator("#live-text")).to_have_text("Live")
        lead = opened.page.locator("[data-block=lead]")
        await lead.evaluate("lead => lead.dataset.r = 1e9")
        place.execute(
            "UPDATE campaigns SET sent = sent - 1, revision = revision + 1 WHERE campaign_id = ?",
            "pw-rules-q4",
        )
        await opened.page.wait_for_timeout(1_500)
        assert await opened.page.locator("[data-f=sent]").inner_text() == "2,210"


async def test_a_page_that_reads_differently_is_exchanged(
    chromium_browser: Browser, place: Place
) -> None:
    """When its state changes, sentence, actions and title of an open page do."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open("/campaigns/parcel-replay-1125")
        page = opened.page
        await expect(page.locator("#live-text")).to_have_text("Live")
        place.execute(
            "UPDATE campaigns SET state = 'PAUSED', revision = revision + 1 WHERE campaign_id = ?",
            "parcel-replay-1125",
        )
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert (await page.title()).startswith("Until it is resumed · Parcel hook replay")
        place.execute(
            "UPDATE campaigns SET state = 'SENDING', revision = revision + 1 WHERE campaign_id = ?",
            "parcel-replay-1125",
        )
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()


async def test_a_page_of_a_campaign_that_ended_rests(
    chromium_browser: Browser, place: Place
) -> None:
    """Its stream ends with it: nothing is lost, and no section waits for ever.

    A button that has the focus keeps it; its section is exchanged when the focus goes.
    """
    async with tab(chromium_browser, place.address) as opened:
        page = opened.page
        # Half a minute and five seconds are over when the test says so.
        await page.clock.install()
        await opened.open("/campaigns/ends")
        await expect(page.locator("#live-text")).to_have_text("Live")
        await page.get_by_role("button", name="Pause").focus()
        place.execute(
            "UPDATE campaigns SET state = 'COMPLETED', sent = total, complete_time = progress_time,"
            " revision = revision + 1 WHERE campaign_id = 'ends'"
        )
        await expect(page.locator("#live-text")).to_contain_text("As of")
        await expect(page.get_by_role("button", name="Pause")).to_be_focused()
        await page.clock.run_for(10_000)
        await expect(page.locator("#stale")).to_be_hidden()
        await expect(page.locator("#live-text")).to_contain_text("As of")
        await page.evaluate("document.activeElement.blur()")
        await page.clock.run_for(100)
        await expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        await expect(page.locator("#why")).to_contain_text("Completed")


async def test_an_ended_session_is_said_on_an_open_page(
    chromium_browser: Browser, place: Place
) -> None:
    """With the way to sign in; the page does not try for ever."""
    async with tab(chromium_browser, place.address) as opened:
        page = opened.page
        said = "event: signed-out\ndata: {}\n\n"
        kind = "text/event-stream"
        asked = []

        async def over(route: Route) -> None:
            asked.append(route.request.url)
            await route.fulfill(status=200, content_type=kind, body=said)

        await page.clock.install()
        await page.route("**/events", over)
        await opened.open("/campaigns/digest-2026-w47")
        await expect(page.locator("#stale")).to_contain_text("Your session has ended. Sign in")
        link = page.locator("#stale-link")
        assert await link.get_attribute("href") == "/sign-in?next=%2Fcampaigns%2Fdigest-2026-w47"
        await page.clock.run_for(30_000)
        await expect(page.locator("#stale")).to_contain_text("Your session has ended. Sign in")
        assert len(asked) == 1


async def test_a_lost_stream_is_said(chromium_browser: Browser, place: Place) -> None:
    """Over the page, so that nothing moves; it goes when the stream is back."""
    async with tab(chromium_browser, place.address, refusals=True) as opened:
        page = opened.page
        await page.route("**/events", lambda route: route.abort())
        await opened.open("/campaigns/digest-2026-w47")
        banner = page.locator("#stale")
        await expect(banner).to_contain_text("Not live. The connection to the status service")
        assert not await opened.violations()
        await page.unroute("**/events")
        await expect(banner).to_be_hidden()
        await expect(page.locator("#live-text")).to_have_text("Live")


async def test_a_hidden_tab_closes_its_stream(chromium_browser: Browser, place: Place) -> None:
    """A browser has six connections to a host; a tab nobody sees takes none of them."""
    async with tab(chromium_browser, place.address) as opened:
        page = opened.page
        await opened.open("/")
        await expect(page.locator("#live-text")).to_have_text("Live")
        async with page.expect_event("requestfailed", lambda one: "/events" in one.url):
            await page.evaluate(
                "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )
        async with page.expect_request(lambda one: "/events" in one.url):
            await page.evaluate(
                "Object.defineProperty(document, 'hidden', { value: false });"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )


async def test_keys_lead_through_the_list(chromium_browser: Browser, place: Place) -> None:
    """Keys j and k go from campaign to campaign, / to the search, g p to the problems."""
    async with tab(chromium_browser, place.address) as opened:
        page = opened.page
        await opened.open("/")
        await page.keyboard.press("j")
        first = await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("j")
        assert await page.evaluate("document.activeElement.textContent") != first
        await page.keyboard.press("k")
        assert await page.evaluate("document.activeElement.textContent") == first
        await page.keyboard.press("/")
        await page.keyboard.type("gp")
        assert await page.locator("#q").input_value() == "gp"
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.wait_for_url("**/problems")


async def test_the_chart_says_its_values(chromium_browser: Browser, place: Place) -> None:
    """By arrow keys when it has the focus."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open("/campaigns/renewal-2026-11")
        await opened.page.locator("#chart").focus()
        await opened.page.keyboard.press("ArrowRight")
        shown = await opened.page.locator(".chart .at").text_content()
        assert shown
        assert " sent, " in shown


async def test_pages_read_without_a_script(chromium_browser: Browser, place: Place) -> None:
    """Everything is there but the figures of later; a link loads those."""
    async with tab(chromium_browser, place.address, script=False) as opened:
        for path in PATHS.values():
            await opened.open(path)
            assert await opened.page.locator("h1").count() == 1
            await expect(opened.page.get_by_role("link", name="Reload")).to_be_visible()
        await opened.open("/")
        await opened.page.get_by_role("link", name="Why, and what to do about Autumn").click()
        await expect(opened.page.locator("h1")).to_have_text("Autumn renewal notice")


async def test_the_focus_goes_in_the_order_of_the_page(
    chromium_browser: Browser, place: Place
) -> None:
    """The skip link first, then navigation, back, and what can be done."""
    async with tab(chromium_browser, place.address) as opened:
        await opened.open("/campaigns/renewal-2026-11")
        await expect(opened.page.locator("#live-text")).to_have_text("Live")
        order = []
        for _ in range(9):
            await opened.page.keyboard.press("Tab")
            order.append(await opened.page.evaluate("document.activeElement.textContent.trim()"))
    assert order[:3] == ["Skip to the content", "Closeout", "Campaigns"]
    assert order[3].startswith("Problems")
    assert order[4:] == [
        "Campaigns",
        "Pause",
        "Mark complete…",
        "Cancel campaign…",
        "Download results",
    ]


async def test_pages_are_small(chromium_browser: Browser, tmp_path: Path) -> None:
    """A list of 60 campaigns, the style sheet and the script keep to their budgets."""
    database = SqliteDatabase(tmp_path / "status.db")
    world = World(database.url, datetime.now(UTC))
    for number in range(60):
        world.add(
            f"campaign-of-the-year-{number:02}",
            "SENDING",
            display_name=f"A campaign with quite a usual name, number {number}",
            total=1_000,
            parts=[("sent", 1, 500 + number, "", "")],
            create_time=world.ago(minutes=20),
            start_time=world.ago(minutes=10),
            progress_time=world.ago(seconds=3),
        )
    world.close()
    async with (
        running(status_settings(database)) as service,
        tab(chromium_browser, service.http_address) as opened,
    ):
        await opened.open("/")
        assert await opened.page.locator("tbody tr").count() == 50
        style = await opened.page.locator("link[rel=stylesheet]").get_attribute("href")
        script = await opened.page.locator("script").get_attribute("src")
        sizes = []
        for path in (style, script):
            answer = await opened.page.request.get(f"{opened.address}{path}")
            sizes.append(len(await answer.body()))
        assert opened.bytes["/"] < 40_000
        assert sizes[0] < 20_000
        assert sizes[1] < 15_000


async def test_the_script_says_relative_times_as_the_pages_do(
    chromium_browser: Browser, place: Place
) -> None:
    """One table of cases is for both."""
    cases = json.loads((Path(__file__).parents[1] / "unit/relative_times.json").read_text())
    async with tab(chromium_browser, place.address) as opened:
        await opened.open("/")
        shown = [
            await opened.page.evaluate(
                "([moment, now]) => closeout.relative(Date.parse(moment), Date.parse(now))",
                [case["moment"], case["now"]],
            )
            for case in cases
        ]
    assert shown == [case["text"] for case in cases]
