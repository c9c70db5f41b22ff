"""Pages that change things, in Chromium: by clicks, by keyboard alone, and without a script."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from acceptance.browser import WIDTHS, Tab, tab
from integration.dashboard_support import OPERATOR, Pages, serving_pages
from integration.databases import SqliteDatabase
from integration.key_support import make_key
from integration.status_support import FAILED, results
from service_runtime.caller import Scope

ACTOR = "key:ops via dashboard"
#: A name and an id as long as they may be, without a space.
LONG_NAME, LONG_ID = "W" * 200, "w" * 128


@pytest_asyncio.fixture(loop_scope="session")
async def pages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """A service with pages and no campaign."""
    database = SqliteDatabase(tmp_path_factory.mktemp("pages") / "status.db")
    async with serving_pages(database) as serving:
        yield serving


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def states(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """A service with a campaign in every state that these pages show."""
    database = SqliteDatabase(tmp_path_factory.mktemp("states") / "status.db")
    async with serving_pages(database) as serving:
        await _every_state(serving)
        yield serving


async def _every_state(pages: Pages) -> None:
    status = pages.status
    await status.stuck("full")
    await status.stuck("drift")
    status.execute("UPDATE campaigns SET sent = 1 WHERE campaign_id = 'drift'")
    await stalled(pages)
    await status.start("never", 8)
    pages.age("never")
    await status.start("going", 8)
    await status.report("going", *results([1]))
    await status.start("paused", 8)
    await status.client.pause_campaign(campaign_id="paused")
    await status.start("done", 1)
    await status.report("done", *results([1]))
    await status.client.create_campaign(campaign_id="draft")
    await status.start("left", 3)
    await status.client.cancel_campaign(campaign_id="left")
    await status.client.create_campaign(campaign_id=LONG_ID, display_name=LONG_NAME)
    await status.client.start_campaign(campaign_id=LONG_ID, total=100_000_000)
    detail = {"code": "c" * 64, "detail": "d" * 500}
    await status.report(LONG_ID, *results(range(1, 30), FAILED, **detail))
    pages.age(LONG_ID)


async def stalled(pages: Pages) -> None:
    """Make a campaign of eight messages, four of which have had no result for long."""
    await pages.status.start("stalled", 8)
    await pages.status.report("stalled", *results([1, 2, 5]), *results([6], FAILED, code="550"))
    pages.age("stalled")


@asynccontextmanager
async def signed_in(
    browser: Browser, pages: Pages, *, scopes: tuple[Scope, ...] = OPERATOR, **options: Any
) -> AsyncIterator[Tab]:
    """Open a tab that is signed in."""
    async with pages.browser(scopes=scopes) as other:
        cookie = {
            "name": "closeout-session",
            "value": other.http.cookies["closeout-session"],
            "url": f"http://{pages.address}",
        }
        async with tab(browser, pages.address, cookies=[cookie], **options) as opened:
            yield opened


async def state_of(pages: Pages, campaign_id: str) -> str:
    """Return the state of a campaign, as the database has it."""
    ((state,),) = pages.status.execute(
        "SELECT state FROM campaigns WHERE campaign_id = ?", campaign_id
    )
    return str(state)


async def test_every_action_is_a_click(chromium_browser: Browser, pages: Pages) -> None:
    """Pause, resume, force and cancel; after each the message has the focus."""
    await stalled(pages)
    await pages.status.start("other", 3)
    async with signed_in(chromium_browser, pages) as opened:
        page = opened.page
        await opened.open("/campaigns/stalled")
        for button, state in (("Pause", "PAUSED"), ("Resume", "SENDING")):
            await page.get_by_role("button", name=button, exact=True).click()
            await expect(page.locator("[role=status]:focus")).to_contain_text(f"{button}d")
            assert await state_of(pages, "stalled") == state
        await page.get_by_role("link", name="Mark complete").click()
        await page.get_by_label("Reason, for the audit trail").fill("the sender is gone")
        await page.get_by_label("Record 4 messages as UNKNOWN").check()
        await page.get_by_role("button", name="Record 4 as UNKNOWN and complete").click()
        await expect(page.locator("[role=status]:focus")).to_contain_text("Marked complete.")
        assert await state_of(pages, "stalled") == "COMPLETED"
        assert pages.trail("stalled")[-1] == ("COMPLETED", ACTOR, "the sender is gone")
        await opened.open("/campaigns/other")
        await page.get_by_role("link", name="Cancel campaign").click()
        await page.get_by_role("button", name="Cancel other").click()
        await expect(page.locator("[role=status]:focus")).to_contain_text("Cancelled.")
        assert pages.trail("other")[-1] == ("CANCELLED", ACTOR, "")
    pages.status.check_invariants()


async def test_a_reload_after_a_repair_repeats_nothing(
    chromium_browser: Browser, pages: Pages
) -> None:
    """What was done is shown again, and nothing is done again."""
    await pages.status.stuck("full")
    async with signed_in(chromium_browser, pages) as opened:
        page = opened.page
        await opened.open("/problems")
        await page.get_by_role("button", name="Fix 1 campaign").click()
        done = "Completed: all 3 messages have a result."
        await expect(page.locator("#last [role=status]:focus")).to_contain_text(done)
        await page.reload()
        await expect(page.locator("#last")).to_contain_text(done)
    assert [state for state, _, _ in pages.trail("full")].count("COMPLETED") == 1


async def reach(page: Page, words: str) -> None:
    """Press Tab until what these words name has the focus."""
    focus = page.locator(":focus")
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await focus.count() and words in await _named(page):
            return
    raise AssertionError(f"not reached by Tab: {words}")


async def _named(page: Page) -> str:
    focus = page.locator(":focus")
    name = await focus.get_attribute("name")
    words = " ".join((await focus.inner_text()).split())
    return f"{name} {await focus.get_attribute('id')} {words}"


async def press(page: Page, words: str, key: str = "Enter") -> None:
    """Go by Tab to what these words name, and press a key there."""
    await reach(page, words)
    await page.keyboard.press(key)
    await page.wait_for_load_state()


async def _fixed(page: Page) -> None:
    await press(page, "Fix 1 campaign")
    await expect(page.locator("#last [role=status]")).to_contain_text("all 3 messages")


async def _forced(page: Page) -> None:
    await press(page, "What to do about stalled")
    await press(page, "Mark complete")
    await reach(page, "reason")
    await page.keyboard.type("its disk is gone")
    await press(page, "confirm", "Space")
    await press(page, "Record 4 as UNKNOWN and complete")
    await expect(page.locator("[role=status]").first).to_contain_text("Marked complete.")


async def _cancelled(page: Page) -> None:
    await press(page, "What to do about never")
    await press(page, "Cancel campaign")
    await reach(page, "reason")
    await page.keyboard.type("nobody sends it")
    await press(page, "Cancel never")
    await expect(page.locator("[role=status]").first).to_contain_text("Cancelled.")


async def _resumed(page: Page) -> None:
    await press(page, "Resume paused")
    await expect(page.locator("[role=status]").first).to_contain_text("Resumed.")


async def _full(pages: Pages) -> None:
    await pages.status.stuck("full")


async def _drift(pages: Pages) -> None:
    await pages.status.stuck("drift")
    pages.status.execute("UPDATE campaigns SET sent = 1")


async def _never(pages: Pages) -> None:
    await pages.status.start("never", 3)
    pages.age("never")


async def _paused(pages: Pages) -> None:
    await pages.status.start("paused", 3)
    await pages.status.client.pause_campaign(campaign_id="paused")


_Make, _Mend = Callable[[Pages], Awaitable[None]], Callable[[Page], Awaitable[None]]
_Stuck = tuple[str, str, _Make, _Mend, tuple[str, str, str]]
_DIAGNOSES: list[_Stuck] = [
    (
        "FULLY_PROCESSED",
        "full",
        _full,
        _fixed,
        ("COMPLETED", ACTOR, "repair: FULLY_PROCESSED"),
    ),
    ("COUNTER_DRIFT", "drift", _drift, _fixed, ("COMPLETED", ACTOR, "repair: COUNTER_DRIFT")),
    ("STALLED", "stalled", stalled, _forced, ("COMPLETED", ACTOR, "its disk is gone")),
    ("NEVER_STARTED", "never", _never, _cancelled, ("CANCELLED", ACTOR, "nobody sends it")),
    ("PAUSED", "paused", _paused, _resumed, ("SENDING", ACTOR, "")),
]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("stuck", _DIAGNOSES, ids=[row[0] for row in _DIAGNOSES])
async def test_a_stuck_campaign_is_mended_by_keyboard_alone(
    chromium_browser: Browser, pages: Pages, stuck: _Stuck, *, script: bool
) -> None:
    """From sign-in on, with Tab, Enter and Space, with the script and without it."""
    diagnosis, campaign_id, make, mend, last = stuck
    await make(pages)
    key = make_key(pages.status.database, name="ops", scopes=OPERATOR)
    async with tab(chromium_browser, pages.address, script=script) as opened:
        page = opened.page
        await opened.open("/problems")  # which leads to sign-in
        await expect(page.locator("input[type=password]")).to_be_focused()
        await page.keyboard.type(key.text)
        await page.keyboard.press("Enter")
        await expect(page.locator(".kind")).to_have_text(diagnosis)
        await mend(page)
    assert pages.trail(campaign_id)[-1] == last
    pages.status.check_invariants()


async def test_a_double_click_does_it_once(chromium_browser: Browser, pages: Pages) -> None:
    """A nervous finger on the red button: one completion, and the page of the campaign."""
    await stalled(pages)
    async with signed_in(chromium_browser, pages) as opened:
        page = opened.page
        await opened.open("/campaigns/stalled/complete")
        await page.get_by_label("Reason, for the audit trail").fill("gone")
        await page.get_by_label("Record 4 messages as UNKNOWN").check()
        await page.get_by_role("button", name="Record 4 as UNKNOWN").dblclick()
        # The second click may abort the navigation of the first one, and is answered the same.
        await expect(page).to_have_url(re.compile("/campaigns/stalled.done=forced$"))
        await expect(page.locator("[role=status]:focus")).to_contain_text("Marked complete.")
    assert [state for state, _, _ in pages.trail("stalled")].count("COMPLETED") == 1
    pages.status.check_invariants()


async def test_a_campaign_that_changed_while_it_was_read_says_so(
    chromium_browser: Browser, pages: Pages
) -> None:
    """The alert has the focus, the reason is kept, and the tick is not."""
    await stalled(pages)
    async with signed_in(chromium_browser, pages, refusals=True) as opened:
        page = opened.page
        await opened.open("/campaigns/stalled/complete")
        await page.get_by_label("Reason, for the audit trail").fill("gone")
        await page.get_by_label("Record 4 messages as UNKNOWN").check()
        await pages.status.report("stalled", *results([3]))
        pages.age("stalled")
        await page.get_by_role("button", name="Record 4 as UNKNOWN").click()
        await expect(page.locator("[role=alert]:focus")).to_have_text(
            "It changed while you read: 1 result came in. Here is how it stands now."
        )
        await expect(page.get_by_label("Reason, for the audit trail")).to_have_value("gone")
        await expect(page.get_by_label("Record 3 messages as UNKNOWN")).not_to_be_checked()
    assert await state_of(pages, "stalled") == "SENDING"


#: Each of these pages in each of its states, with the status it is answered with.
PATHS = {
    "problems": ("/problems", 200),
    "refused": ("/campaigns/stalled/complete", 200),
    "in progress": ("/campaigns/going/complete", 200),
    "possible": ("/campaigns/full/complete", 200),
    "completed": ("/campaigns/done/complete", 200),
    "wrong state": ("/campaigns/draft/complete", 200),
    "cancel": ("/campaigns/stalled/cancel", 200),
    "cancel of an ended one": ("/campaigns/done/cancel", 200),
    "results": ("/campaigns/stalled/results", 200),
    "results of one outcome": ("/campaigns/stalled/results?outcome=failed", 200),
    "no results": ("/campaigns/never/results", 200),
    "missing": ("/campaigns/stalled/missing", 200),
    "none missing": ("/campaigns/done/missing", 200),
    "resend": ("/campaigns/left/resend", 200),
    "resend, reviewed": ("/campaigns/left/resend?to=unsent&id=b", 200),
    "resend, wrong": ("/campaigns/left/resend?id=!", 200),
    "resend of what was sent": ("/campaigns/done/resend", 200),
    "keyboard": ("/keyboard", 200),
    "not found": ("/campaigns/absent/complete", 404),
    "long": (f"/campaigns/{LONG_ID}/complete", 200),
    "long, cancel": (f"/campaigns/{LONG_ID}/cancel", 200),
    "long, results": (f"/campaigns/{LONG_ID}/results", 200),
    "long, missing": (f"/campaigns/{LONG_ID}/missing", 200),
}
#: Those that a narrow window lays out in another way: one of each template.
ON_A_PHONE = ("problems", "refused", "cancel", "results", "missing", "resend", "keyboard")


async def test_axe_has_nothing_against_pages_that_change_things(
    chromium_browser: Browser, states: Pages
) -> None:
    """WCAG 2.2 A and AA and best practices, in each state; colours in both schemes."""
    found: dict[str, list[str]] = {}
    async with signed_in(chromium_browser, states, refusals=True) as opened:
        for name, (path, status) in PATHS.items():
            await opened.open(path, status)
            found[name] = await opened.violations_in_both_schemes()
        await _refused_force(opened)
        found["too old"] = await opened.violations_in_both_schemes()
    reader = signed_in(chromium_browser, states, scopes=(Scope.READ,), refusals=True)
    async with reader as opened:
        for path, status in (("/problems", 200), ("/campaigns/stalled/complete", 403)):
            await opened.open(path, status)
            found[f"{path}, reader"] = await opened.violations()
    assert not any(found.values()), json.dumps(found, indent=1)


async def test_axe_has_nothing_against_pages_that_change_things_on_a_phone(
    chromium_browser: Browser, states: Pages
) -> None:
    """Tables are cards there, and columns stand one below the other."""
    found = {}
    async with signed_in(chromium_browser, states, width=360) as opened:
        for name in ON_A_PHONE:
            await opened.open(*PATHS[name])
            found[name] = await opened.violations()
    assert not any(found.values()), json.dumps(found, indent=1)


async def _refused_force(opened: Tab) -> None:
    """Send a form whose token is of another time."""
    page = opened.page
    await opened.open("/campaigns/stalled/complete")
    await page.evaluate("document.querySelector('.forced [name=token]').value = 'old'")
    await page.get_by_label("Reason, for the audit trail").fill("gone")
    await page.get_by_label("Record 4 messages as UNKNOWN").check()
    await page.get_by_role("button", name="Record 4 as UNKNOWN").click()
    await expect(page.locator("[role=alert]:focus")).to_have_text(
        "This form is too old. Nothing was changed."
    )


async def test_pages_that_change_things_fit_every_width(
    chromium_browser: Browser, states: Pages
) -> None:
    """Nothing scrolls sideways, and on a phone what is pressed is 44 pixels high.

    The narrowest window is one of 1280 pixels at 400 %; texts are as long as they may be.
    """
    wrong: dict[str, object] = {}
    height = "all => all.map(one => [one.innerText, one.getBoundingClientRect().height])"
    async with signed_in(chromium_browser, states, refusals=True) as opened:
        for name, (path, status) in PATHS.items():
            await opened.open(path, status)
            for width in WIDTHS:
                if overflow := await opened.overflow(width):
                    wrong[f"{name}, {width}"] = overflow
                if width >= 720:
                    continue
                for words, pixels in await opened.page.locator("main .btn").evaluate_all(height):
                    if pixels < 44:
                        wrong[f"{name}, {width}: {words}"] = pixels
    assert not wrong
