"""What forms of pages do: pause, resume and cancel, whoever sends them and whatever they say."""

from __future__ import annotations

import asyncio

import pytest

from integration.dashboard_support import ACTOR, Browser, Pages
from integration.databases import SqliteDatabase
from integration.page_reader import Document
from integration.status_support import FAILED, results
from service_runtime.caller import Scope

FOREIGN = '"><img src=x onerror=alert(1)>'


async def test_pause_and_resume_go_back_to_the_campaign(pages: Pages, browser: Browser) -> None:
    """One click each; the audit trail says whose key it was, and that it was by a page."""
    await pages.status.start("a", 3)
    await browser.post("/campaigns/a/pause")
    assert await pages.state("a") == "PAUSED"
    await browser.post("/campaigns/a/resume")
    assert await pages.state("a") == "SENDING"
    assert pages.trail("a")[-2:] == [("PAUSED", ACTOR, ""), ("SENDING", ACTOR, "")]


async def test_a_second_click_changes_nothing(pages: Pages, browser: Browser) -> None:
    """A double click, or a reload after the form, is answered as the first."""
    await pages.status.start("a", 3)
    await asyncio.gather(*(browser.post("/campaigns/a/pause") for _ in range(3)))
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
    assert await pages.state("a") == "SENDING"


async def test_cancel_says_what_it_does_and_then_does_it(pages: Pages, browser: Browser) -> None:
    """A page with the number of messages that are not sent, and the reason in the trail."""
    await pages.status.start("a", 5)
    await pages.status.report("a", *results([1, 2]))
    document = await browser.open("/campaigns/a/cancel")
    assert "This ends it for good. 3 messages are not sent and end as SKIPPED" in document.text
    assert document.links["Keep it"] == "/campaigns/a"
    after = await browser.click(document, "Cancel a", reason="wrong list")
    assert await pages.state("a") == "CANCELLED"
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
    assert await pages.state("a") == "SENDING"


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
