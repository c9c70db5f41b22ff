"""The page of problems: what it finds, what its button mends, and who sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from integration.dashboard_support import ACTOR, Browser, Pages
from integration.databases import Database
from integration.status_support import results, serving
from service_runtime.caller import Scope


async def _fully_processed(pages: Pages) -> str:
    await pages.status.stuck("a")
    return "FULLY_PROCESSED"


async def _drift_of_a_full_one(pages: Pages) -> str:
    await pages.status.stuck("a")
    pages.status.execute("UPDATE campaigns SET sent = 0, failed = 3")
    return "COUNTER_DRIFT"


async def _drift(pages: Pages) -> str:
    await pages.status.start("a", 5)
    await pages.status.report("a", *results([1, 2]))
    pages.status.execute("UPDATE campaigns SET sent = 1")
    return "COUNTER_DRIFT"


@pytest.mark.parametrize("make", [_fully_processed, _drift_of_a_full_one, _drift])
async def test_problems_are_found_by_looking_and_fixed_by_one_button(
    pages: Pages, browser: Browser, make: Callable[[Pages], Awaitable[str]]
) -> None:
    """Looking changes nothing; the button mends, and the page then says what was done."""
    diagnosis = await make(pages)
    document = await browser.open("/problems")
    assert document.headings[0] == "One campaign can be fixed, and nobody is needed"
    assert document.title == "1 to fix · Problems · Closeout"
    assert "1 open campaign was looked at" in document.text
    assert "Nothing was changed by looking." in document.text
    assert diagnosis in document.text
    assert await pages.state("a") == "SENDING"
    after = await browser.click(document, "Fix 1 campaign")
    (done,) = after.statuses
    assert after.focused == done
    assert diagnosis in done
    complete = make is not _drift
    said = "all 3 messages have a result." if complete else "Counted again."
    assert said in done
    assert await pages.state("a") == ("COMPLETED" if complete else "SENDING")
    if complete:
        assert pages.trail("a")[-1] == ("COMPLETED", ACTOR, f"repair: {diagnosis}")
    pages.status.check_invariants()
    again = await browser.open("/problems")
    assert "What your last repair did" in again.headings
    assert again.headings[0] == "Nothing to fix, and nobody is needed"
    assert again.focused is None


async def test_a_second_fix_finds_nothing_and_says_so(pages: Pages, browser: Browser) -> None:
    """A form that is sent again repairs nothing again."""
    await pages.status.stuck("a")
    document = await browser.open("/problems")
    await browser.click(document, "Fix 1 campaign")
    after = await browser.click(document, "Fix 1 campaign")
    said = "Nothing was left to fix: the service had mended it by itself."
    assert said in after.text
    assert [state for state, _, _ in pages.trail("a")].count("COMPLETED") == 1


async def test_what_a_repair_did_is_shown_to_who_did_it(pages: Pages, browser: Browser) -> None:
    """Another session does not see it."""
    await pages.status.stuck("a")
    await browser.click(await browser.open("/problems"), "Fix 1 campaign")
    async with pages.browser(name="other") as other:
        assert "What your last repair did" not in (await other.open("/problems")).headings


async def test_problems_have_three_groups(pages: Pages, browser: Browser) -> None:
    """What a button mends, what needs a person, and what is left alone."""
    await pages.status.stuck("full")
    await pages.status.start("stalled", 5)
    await pages.status.report("stalled", *results([1]))
    pages.age("stalled")
    await pages.status.start("never", 5)
    pages.age("never", 1_560)
    await pages.status.start("going", 5)
    await pages.status.report("going", *results([1]))
    await pages.status.start("paused", 5)
    await pages.status.client.pause_campaign(campaign_id="paused")
    document = await browser.open("/problems")
    assert document.headings == [
        "One campaign can be fixed, two need a person",
        "Can be fixed from their results",
        "full",
        "Need a person",
        "stalled",
        "never",
        "Left alone",
        "going",
        "paused",
    ]
    assert "No result for 42 min; tester reported last." in document.text
    assert "Started 26 min ago, and no sender has reported anything." in document.text
    assert document.links["What to do about stalled"] == "/campaigns/stalled"
    after = await browser.click(document, "Resume paused")
    assert after.statuses == ["Resumed. The sender goes on by itself."]
    assert await pages.state("paused") == "SENDING"


async def test_a_scan_is_kept_and_can_be_asked_for_again(pages: Pages, browser: Browser) -> None:
    """Within some seconds the page shows the same scan, until somebody asks for another."""
    await browser.open("/problems")
    await pages.status.stuck("a")
    assert (await browser.open("/problems")).headings[0].startswith("Nothing to fix")
    document = await browser.open("/problems?again")
    assert document.headings[0].startswith("One campaign can be fixed")
    assert document.links["Scan again"] == "/problems?again"


async def test_organisations_see_their_own_problems(pages: Pages, browser: Browser) -> None:
    """A scan of one organisation is not shown to another, and its fix leaves others alone."""
    await pages.status.stuck("a")
    await browser.open("/problems")
    scopes = (Scope.READ, Scope.REPAIR, Scope.WRITE)
    async with pages.browser(organisation="south", scopes=scopes) as south:
        document = await south.open("/problems")
        assert document.headings == ["Nothing to fix, and nobody is needed"]
        assert not document.has_form("Fix 1 campaign")
    assert await pages.state("a") == "SENDING"


async def test_s14_repairs_of_pages_race_with_each_other_and_with_the_service(
    pages: Pages, browser: Browser
) -> None:
    """Fix and Mark complete of two people, RepairCampaigns and MarkComplete: one completion."""
    for campaign_id in ("a", "b", "c"):
        await pages.status.stuck(campaign_id)
    async with pages.browser(name="other") as other:
        fixes = [
            (one, (await one.open("/problems")).form("Fix 3 campaigns")) for one in (browser, other)
        ]
        forms = [
            (one, (await one.open(f"/campaigns/{name}/complete")).form("Mark complete"))
            for one in (browser, other)
            for name in ("a", "b", "c")
        ]
        client = pages.status.client
        answers = await asyncio.gather(
            *(one.send(form) for one, form in (*fixes, *forms)),
            client.repair_campaigns(),
            client.mark_complete(campaign_id="b"),
        )
    # Who was beaten to it by somebody else reads that it changed.
    assert {answer.status_code for answer in answers[:8]} <= {303, 409}
    for campaign_id in ("a", "b", "c"):
        states = [state for state, _, _ in pages.trail(campaign_id)]
        assert states.count("COMPLETED") == 1
    pages.status.check_invariants()


async def test_before_the_first_key_the_trail_has_the_address(database: Database) -> None:
    """Nobody signs in, forms still need their token, and what a repair did is shown."""
    async with serving(database) as status:
        pages = Pages(status, status.http_address)
        await status.stuck("a")
        async with pages.stranger() as stranger:
            document = await stranger.open("/problems")
            form = document.form("Fix 1 campaign")
            assert (await stranger.send(form, token="")).status_code == 403
            after = await stranger.click(document, "Fix 1 campaign")
            assert "all 3 messages have a result." in after.statuses[0]
        _, actor, _ = pages.trail("a")[-1]
        assert actor.startswith("ipv4:127.0.0.1:")
        assert actor.endswith(" via dashboard")
