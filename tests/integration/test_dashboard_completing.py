"""Mark complete on a page: by one button where all is there, else by force."""

from __future__ import annotations

import asyncio
import re

import pytest

from integration.dashboard_support import ACTOR, Browser, Pages
from integration.page_reader import Document
from integration.status_support import FAILED, eventually, results
from status_service.dashboard import complete_page


async def test_what_is_full_is_marked_complete_by_one_button(
    pages: Pages, browser: Browser
) -> None:
    """The page has tried it; the button does it, and a second click leads to the same page."""
    await pages.status.stuck("a")
    document = await browser.open("/campaigns/a/complete")
    said = "Every one of 3 messages has a result. Marking it complete changes nothing else."
    assert said in document.headings
    assert document.title == "Mark complete · a · Closeout"
    assert await pages.state("a") == "SENDING"
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
    assert await pages.state("a") == "COMPLETED"
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
        return await pages.state("a") == "COMPLETED"

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
    assert await pages.state("a") == "SENDING"


@pytest.mark.parametrize("confirmed", ["3", "5", "04", "", "4\n4", "٤"])
async def test_force_needs_the_number_that_is_missing(
    pages: Pages, browser: Browser, confirmed: str
) -> None:
    """Another number than is missing confirms nothing."""
    await _stalled(pages)
    form = (await browser.open("/campaigns/a/complete")).form("Record 4 as UNKNOWN and complete")
    answer = await browser.send(form, reason="gone", confirm=confirmed)
    assert answer.status_code in {400, 409}
    assert await pages.state("a") == "SENDING"


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
    assert await pages.state("a") == "SENDING"
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
    assert await pages.state("a") == "PAUSED"


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
