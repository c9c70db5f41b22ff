"""What forms of pages do: pause, resume, cancel, mark complete, and the repair."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from closeout.status.v1 import status_pb2 as pb
from integration.dashboard_support import Browser, Pages, serving_pages
from integration.databases import Database, SqliteDatabase
from integration.page_reader import Document
from integration.status_support import FAILED, eventually, results, serving
from service_runtime.caller import Scope
from status_service.dashboard import complete_page

ACTOR = "key:ops via dashboard"
FOREIGN = '"><img src=x onerror=alert(1)>'


@pytest.fixture
async def pages(database: Database) -> AsyncIterator[Pages]:
    """A service with pages, on each kind of database."""
    async with serving_pages(database) as serving:
        yield serving


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[Browser]:
    """A browser of somebody who may read, write and repair."""
    async with pages.browser() as found:
        yield found


async def _state(pages: Pages, campaign_id: str = "a") -> str:
    campaign = await pages.status.client.get_campaign(campaign_id=campaign_id)
    return pb.Campaign.State.Name(campaign.state)


async def _post(browser: Browser, path: str, **fields: str) -> Document:
    """Send fields with the token of the session; return the page it leads to, or is answered."""
    sent = {"token": browser.token} | fields
    headers = {"origin": browser.origin, "sec-fetch-site": "same-origin"}
    answer = await browser.http.post(path, data=sent, headers=headers)
    if answer.status_code != 303:
        return Document(answer.text)
    return await browser.open(answer.headers["location"].partition("#")[0])


async def test_pause_and_resume_go_back_to_the_campaign(pages: Pages, browser: Browser) -> None:
    """One click each; the audit trail says whose key it was, and that it was by a page."""
    await pages.status.start("a", 3)
    await _post(browser, "/campaigns/a/pause")
    assert await _state(pages) == "PAUSED"
    await _post(browser, "/campaigns/a/resume")
    assert await _state(pages) == "SENDING"
    assert pages.trail("a")[-2:] == [("PAUSED", ACTOR, ""), ("SENDING", ACTOR, "")]


async def test_a_second_click_changes_nothing(pages: Pages, browser: Browser) -> None:
    """A double click, or a reload after the form, is answered as the first."""
    await pages.status.start("a", 3)
    await asyncio.gather(*(_post(browser, "/campaigns/a/pause") for _ in range(3)))
    assert [state for state, _, _ in pages.trail("a")].count("PAUSED") == 1
    answer = await browser.http.get("/campaigns/a/pause")
    assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns/a")


async def test_a_refused_change_shows_the_campaign_and_why(pages: Pages, browser: Browser) -> None:
    """The message of the service is an alert on top of the campaign's page, with the focus."""
    await pages.status.start("a", 1)
    token = browser.token
    await pages.status.report("a", *results([1]))
    answer = await browser.http.post(
        "/campaigns/a/pause", data={"token": token}, headers={"origin": browser.origin}
    )
    assert answer.status_code == 409
    document = Document(answer.text)
    assert document.alerts == ["campaign 'a' is COMPLETED; it can't become PAUSED"]
    assert document.focused == document.alerts[0]


@pytest.mark.usefixtures("impatient")
async def test_a_busy_campaign_shows_itself_and_why(pages: Pages, browser: Browser) -> None:
    """Who finds the campaign locked learns it on its page, and that he may try again."""
    await pages.status.start("a", 1)
    token = browser.token
    with pages.status.database.held():
        answer = await browser.http.post(
            "/campaigns/a/pause", data={"token": token}, headers={"origin": browser.origin}
        )
    assert answer.status_code == 503
    document = Document(answer.text)
    if isinstance(pages.status.database, SqliteDatabase):  # its lock is one for all campaigns
        assert "It is not known to have happened. Look before you repeat it." in document.text
    else:
        said = "campaign 'a' is locked in the database by somebody else; try again"
        assert document.alerts == [said]
    assert await _state(pages) == "SENDING"


async def test_cancel_says_what_it_does_and_then_does_it(pages: Pages, browser: Browser) -> None:
    """A page with the number of messages that are not sent, and the reason in the trail."""
    await pages.status.start("a", 5)
    await pages.status.report("a", *results([1, 2]))
    document = await browser.open("/campaigns/a/cancel")
    assert "This ends it for good. 3 messages are not sent and end as SKIPPED" in document.text
    assert document.links["Keep it"] == "/campaigns/a"
    after = await browser.click(document, "Cancel a", reason="wrong list")
    assert await _state(pages) == "CANCELLED"
    assert pages.trail("a")[-1] == ("CANCELLED", ACTOR, "wrong list")
    assert not after.alerts
    document = await browser.open("/campaigns/a/cancel")
    assert "This campaign is CANCELLED already." in document.text
    assert len(document.forms) == 1  # to sign out


async def test_a_reason_that_is_too_long_is_kept(pages: Pages, browser: Browser) -> None:
    """The form comes back with what was typed, and says what is wrong with it."""
    await pages.status.start("a", 5)
    document = await browser.open("/campaigns/a/cancel")
    answer = await browser.send(document.form("Cancel a"), reason="x" * 501)
    assert answer.status_code == 400
    again = Document(answer.text)
    assert again.alerts == ["The reason is longer than 500 characters. Shorten it."]
    assert again.focused == "field reason"
    assert again.form("Cancel a").fields["reason"] == "x" * 501
    assert await _state(pages) == "SENDING"


async def test_what_is_full_is_marked_complete_by_one_button(
    pages: Pages, browser: Browser
) -> None:
    """The page has tried it; the button does it, and a second click leads to the same page."""
    await pages.status.stuck("a")
    document = await browser.open("/campaigns/a/complete")
    said = "Every one of 3 messages has a result. Marking it complete changes nothing else."
    assert said in document.headings
    assert document.title == "Mark complete · a · Closeout"
    assert await _state(pages) == "SENDING"
    form = document.form("Mark complete")
    first, second = await asyncio.gather(
        browser.send(form, reason="seen"), browser.send(form, reason="seen")
    )
    assert {first.headers["location"], second.headers["location"]} == {
        "/campaigns/a?done=completed"
    }
    assert pages.trail("a")[-1] == ("COMPLETED", ACTOR, "seen")
    pages.status.check_invariants()
    document = await browser.open("/campaigns/a/complete")
    assert "This campaign is completed already." in document.headings
    assert not document.has_form("Mark complete")


async def _stalled(pages: Pages, total: int = 8) -> None:
    await pages.status.start("a", total)
    await pages.status.report("a", *results([1, 2, 5]), *results([6], FAILED, code="550"))
    pages.age("a")


async def test_force_says_what_it_records_and_records_that(pages: Pages, browser: Browser) -> None:
    """The refusal of the dry run, then numbers before and after, and a tick with the number."""
    await _stalled(pages)
    document = await browser.open("/campaigns/a/complete")
    assert document.headings[1] == (
        "4 of 8 messages have no result, so this campaign can't be marked complete."
    )
    text = document.text
    assert "It was tried a moment ago, and nothing was changed." in text
    assert "The first messages without a result are 3 \u2013 4; all 2 ranges." in text
    assert "CAMPAIGN_NOT_FULLY_PROCESSED" in text
    assert "Or end it by force" in document.headings
    assert (
        "This records 4 messages as UNKNOWN and completes the campaign. Nothing missing becomes"
        " sent. It can't be taken back. Use it only when the sender and its database are gone for"
        " good. A result that still arrives replaces its UNKNOWN." in text
    )
    assert "Unknown04" in re.sub(r"\s", "", text)
    form = document.form("Record 4 as UNKNOWN and complete")
    assert form.ticks == {"confirm": "4"}
    await browser.click(
        document,
        "Record 4 as UNKNOWN and complete",
        ticked=["confirm"],
        reason="the sender's disk is gone",
    )
    campaign = await pages.status.client.get_campaign(campaign_id="a")
    assert (campaign.sent, campaign.failed, campaign.unknown) == (3, 1, 4)
    assert await _state(pages) == "COMPLETED"
    assert pages.trail("a")[-1] == ("COMPLETED", ACTOR, "the sender's disk is gone")
    pages.status.check_invariants()


async def test_force_that_takes_long_goes_on_behind_its_answer(
    pages: Pages, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No browser waits for minutes: its page says so, and the campaign is completed once."""
    monkeypatch.setattr(complete_page, "_PATIENCE_SECONDS", 0.0)
    await _stalled(pages)
    document = await browser.open("/campaigns/a/complete")
    after = await browser.click(
        document, "Record 4 as UNKNOWN and complete", ticked=["confirm"], reason="gone"
    )
    assert "Being marked complete, which takes minutes with millions of messages." in after.text

    async def is_completed() -> bool:
        return await _state(pages) == "COMPLETED"

    await eventually(is_completed, what="the campaign completed")
    assert (await pages.status.client.get_campaign(campaign_id="a")).unknown == 4
    assert pages.trail("a")[-1] == ("COMPLETED", ACTOR, "gone")


async def test_force_needs_a_reason_and_a_tick(pages: Pages, browser: Browser) -> None:
    """Without either the page comes back, says what is missing, and nothing was done."""
    await _stalled(pages)
    form = (await browser.open("/campaigns/a/complete")).form("Record 4 as UNKNOWN and complete")
    answer = await browser.send(form, ticked=["confirm"], reason="  ")
    assert answer.status_code == 400
    again = Document(answer.text)
    assert again.alerts[0].startswith("Say why")
    assert again.focused == "field reason"
    answer = await browser.send(form, reason="gone")
    assert answer.status_code == 400
    again = Document(answer.text)
    assert again.alerts == ["Tick the box if that is what you want. Nothing was changed."]
    assert again.form("Record 4 as UNKNOWN and complete").fields["reason"] == "gone"
    assert await _state(pages) == "SENDING"


@pytest.mark.parametrize("confirmed", ["3", "5", "04", "", "4\n4", "٤"])
async def test_force_needs_the_number_that_is_missing(
    pages: Pages, browser: Browser, confirmed: str
) -> None:
    """Another number than is missing confirms nothing."""
    await _stalled(pages)
    form = (await browser.open("/campaigns/a/complete")).form("Record 4 as UNKNOWN and complete")
    answer = await browser.send(form, reason="gone", confirm=confirmed)
    assert answer.status_code in {400, 409}
    assert await _state(pages) == "SENDING"


async def test_a_campaign_that_changed_while_it_was_read_is_not_forced(
    pages: Pages, browser: Browser
) -> None:
    """The page comes back as it stands now; the reason is kept, the tick is not."""
    await _stalled(pages)
    form = (await browser.open("/campaigns/a/complete")).form("Record 4 as UNKNOWN and complete")
    await pages.status.report("a", *results([3, 4]))
    pages.age("a")
    answer = await browser.send(form, ticked=["confirm"], reason="gone for good")
    assert answer.status_code == 409
    again = Document(answer.text)
    assert again.alerts == [
        "It changed while you read: 2 results came in. Here is how it stands now."
    ]
    assert again.focused == again.alerts[0]
    form = again.form("Record 2 as UNKNOWN and complete")
    assert form.fields["reason"] == "gone for good"
    assert form.ticks == {"confirm": "2"}
    assert "checked" not in again.html
    assert await _state(pages) == "SENDING"
    answer = await browser.send(form, ticked=["confirm"])
    assert answer.status_code == 303
    assert (await pages.status.client.get_campaign(campaign_id="a")).unknown == 2


async def test_a_revision_alone_stops_the_force(pages: Pages, browser: Browser) -> None:
    """As many messages are missing, but the campaign is another one: nothing is done."""
    await _stalled(pages)
    form = (await browser.open("/campaigns/a/complete")).form("Record 4 as UNKNOWN and complete")
    await pages.status.client.pause_campaign(campaign_id="a")
    answer = await browser.send(form, ticked=["confirm"], reason="gone")
    assert answer.status_code == 409
    assert Document(answer.text).alerts == [
        "It changed while you read: it stands differently. Here is how it stands now."
    ]
    for revision in ("0", "", "-1", "x", "9" * 30):
        answer = await browser.send(form, ticked=["confirm"], reason="gone", revision=revision)
        assert answer.status_code == 409
    assert await _state(pages) == "PAUSED"


async def test_force_is_not_offered_while_results_come(pages: Pages, browser: Browser) -> None:
    """In place of the box stands when it will be offered."""
    await pages.status.start("a", 8)
    await pages.status.report("a", *results([1]))
    document = await browser.open("/campaigns/a/complete")
    assert "Results are still coming in, the last one" in document.text
    assert "Force is offered when none came for 5 minutes." in document.text
    assert "Or end it by force" not in document.headings


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("draft", "This campaign has not started, so it can't be marked complete."),
        ("cancelled", "This campaign was cancelled. A cancelled campaign stays cancelled."),
    ],
)
async def test_a_wrong_state_has_no_form(
    pages: Pages, browser: Browser, name: str, sentence: str
) -> None:
    """A sentence and the way back."""
    await pages.status.client.create_campaign(campaign_id=name)
    if name == "cancelled":
        await pages.status.client.cancel_campaign(campaign_id=name)
    document = await browser.open(f"/campaigns/{name}/complete")
    assert sentence in document.text
    assert document.links["Back to the campaign"] == f"/campaigns/{name}"
    assert len(document.forms) == 1  # to sign out


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
    assert await _state(pages) == "SENDING"
    after = await browser.click(document, "Fix 1 campaign")
    (done,) = after.statuses
    assert after.focused == done
    assert diagnosis in done
    complete = make is not _drift
    said = "all 3 messages have a result." if complete else "Counted again."
    assert said in done
    assert await _state(pages) == ("COMPLETED" if complete else "SENDING")
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
    assert await _state(pages, "paused") == "SENDING"


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
    assert await _state(pages) == "SENDING"


async def test_foreign_words_are_words_on_every_page(pages: Pages, browser: Browser) -> None:
    """Names, reasons, codes, details and reporters are text, however they look."""
    client = pages.status.client
    await client.create_campaign(campaign_id="a", display_name=FOREIGN, channel=FOREIGN[:64])
    await client.start_campaign(campaign_id="a", total=9)
    await pages.status.report(
        "a",
        *results([1], FAILED, code="<b>5</b>", detail=f"{FOREIGN}\u202e\x07"),
        reporter=FOREIGN,
    )
    pages.age("a")
    for path in ("complete", "cancel", "results", "missing"):
        document = await browser.open(f"/campaigns/a/{path}")
        assert FOREIGN in document.text, path
        assert "<img" not in document.html, path
    assert f"{FOREIGN}��" in (await browser.open("/campaigns/a/results")).text
    document = await browser.open("/problems")
    assert FOREIGN in document.headings
    assert "<img" not in document.html
    form = (await browser.open("/campaigns/a/complete")).form("Record 8 as UNKNOWN and complete")
    answer = await browser.send(form, reason=FOREIGN)
    again = Document(answer.text)
    assert again.form("Record 8 as UNKNOWN and complete").fields["reason"] == FOREIGN
    assert "<img" not in again.html


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


async def test_what_a_key_does_not_allow_is_a_line_and_no_button(pages: Pages) -> None:
    """Each action names the scope it needs, in its place; Fix and Resume as well."""
    await pages.status.start("a", 3)
    await pages.status.start("paused", 3)
    await pages.status.client.pause_campaign(campaign_id="paused")
    await pages.status.stuck("full")
    async with pages.browser(scopes=[Scope.READ]) as reader:
        document = await reader.open("/campaigns/a")
        for said in (
            "Pausing needs a key with the scope write.",
            "Marking complete needs a key with the scope repair.",
            "Cancelling needs a key with the scope write.",
        ):
            assert said in document.text
        assert not document.has_form("Pause")
        assert "Mark complete…" not in document.links
        assert document.links["Download results"] == "/campaigns/a/results.csv"
        said = "Resuming needs a key with the scope write."
        assert said in (await reader.open("/campaigns/paused")).text
        document = await reader.open("/problems")
        assert "Fixing needs a key with the scope repair." in document.text
        assert [form.action for form in document.forms] == ["/sign-out"]


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
