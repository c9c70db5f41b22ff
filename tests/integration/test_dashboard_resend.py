"""The page that prepares a resend, and what its command comes to."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.dashboard_support import Browser, Pages, serving_pages
from integration.status_support import FAILED, SKIPPED, UNKNOWN, results


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    """A service with pages."""
    async with serving_pages(tmp_path) as serving:
        yield serving


@pytest.fixture
async def browser(pages: Pages) -> AsyncIterator[Browser]:
    """A browser of somebody who may read and write."""
    async with pages.browser() as found:
        yield found


async def _ended(pages: Pages) -> None:
    await pages.status.start("a", 100)
    await pages.status.report(
        "a",
        *results(range(1, 80)),
        *results([80, 81], FAILED),
        *results([82], SKIPPED),
        *results([83, 84, 85], UNKNOWN),
    )
    await pages.status.client.cancel_campaign(campaign_id="a")


async def test_nothing_is_ticked_beforehand(pages: Pages, browser: Browser) -> None:
    """Each choice says how many they are and what has to be known first."""
    await _ended(pages)
    document = await browser.open("/campaigns/a/resend")
    assert document.title == "Resend · a · Closeout"
    for said in (
        "3 unknownSome may get it twice.",
        "2 failedWhat was refused for good is refused again.",
        "1 skippedLeft out on purpose; a suppression still holds.",
        "15 unsent",
    ):
        assert said in document.text
    assert "checked" not in document.html
    form = document.form("Review the resend")
    assert form.fields == {"id": "a-resend-1"}
    assert form.method == "get"


async def test_the_review_has_the_numbers_and_the_command(pages: Pages, browser: Browser) -> None:
    """The command is one that the command line takes; nothing has gone out."""
    await _ended(pages)
    document = await browser.open("/campaigns/a/resend?to=unknown&to=failed&id=a-2")
    assert (
        "5 messages would go out again: 3 unknown, 2 failed. Some of them may get it twice."
        in document.headings
    )
    command = "closeout resend a --to unknown,failed --campaign-id a-2"
    assert command in document.text
    assert "Nothing has gone out yet." in document.text
    assert shlex.split(command)[1:3] == ["resend", "a"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("id=a-2", "Tick at least one of these."),
        ("to=nobody&id=a-2", "Tick at least one of these."),
        ("to=failed&id=-x;rm", "Take 1 to 128 letters"),
    ],
)
async def test_what_is_wrong_is_said_beside_it(
    pages: Pages, browser: Browser, query: str, said: str
) -> None:
    """The form comes back, and no command."""
    await _ended(pages)
    document = await browser.open(f"/campaigns/a/resend?{query}")
    assert document.alerts[0].startswith(said)
    assert "closeout resend" not in document.text


async def test_what_has_not_ended_and_what_was_sent_are_not_resent(
    pages: Pages, browser: Browser
) -> None:
    """A sentence, and no form."""
    await pages.status.start("a", 1)
    said = "This campaign has not ended. A resend is for what an ended one left behind."
    assert said in (await browser.open("/campaigns/a/resend")).headings
    await pages.status.report("a", *results([1]))
    said = "Every message of this campaign was sent. Nobody is left to resend it to."
    document = await browser.open("/campaigns/a/resend?to=unsent&id=b")
    assert said in document.headings
    assert not document.has_form("Review the resend")
