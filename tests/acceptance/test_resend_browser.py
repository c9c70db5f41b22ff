"""A resend from the page, in Chromium, with both services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from acceptance.browser import tab
from closeout.sender.v1 import sender_pb2
from integration import sender_support as support
from integration.sender_pair import Pair
from sender_service.channels.contract import Message, Reply

#: A key and an address as long as they may be, without a space.
_LONG_KEY, _LONG_ADDRESS = "k" * 255, f"{'a' * 200}@example.com"


def _replies(message: Message) -> Reply:
    return {2: support.LOST, 3: support.REFUSED}.get(message.sequence, support.ACCEPTED)


@pytest_asyncio.fixture(loop_scope="session")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both services, and a campaign with one person in doubt, one failed, and one who got it."""
    pair = Pair(tmp_path_factory.mktemp("resend"))
    pair.asks_sender = True
    pair.channel.script = _replies
    try:
        await pair.start()
        await pair.sender.create_campaign(
            campaign_id="a", channel="scripted", body=sender_pb2.EmailContent(subject="Hello")
        )
        # The first one gets it: so the provider and the campaign need no second try.
        people = [
            sender_pb2.Recipient(address="c@example.com", recipient_key="customer-3"),
            sender_pb2.Recipient(address=_LONG_ADDRESS, recipient_key=_LONG_KEY),
            sender_pb2.Recipient(address="b@example.com", recipient_key="customer-2"),
        ]
        await pair.sender.upload_recipients(campaign_id="a", upload_id="u", batches=[people])
        await pair.sender.start_campaign(campaign_id="a")
        await pair.finished("a")
        pair.channel.script = lambda _: support.ACCEPTED
        yield pair
    finally:
        await asyncio.shield(pair.close())


@pytest.mark.parametrize("script", [True, False])
async def test_a_resend_by_keyboard_alone(
    chromium_browser: Browser, both: Pair, *, script: bool
) -> None:
    """From the page of a campaign to that of the new one, with and without a script."""
    async with tab(chromium_browser, both.status_http, script=script) as opened:
        page = opened.page
        await opened.open("/campaigns/a")
        box = page.get_by_role("checkbox", name="1 unknown")
        await expect(box).not_to_be_checked()
        await box.focus()
        await page.keyboard.press("Space")
        await expect(box).to_be_checked()
        for _ in range(2):
            await page.keyboard.press("Tab")
        await expect(page.get_by_label("Id of the new campaign")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("h2.sentence")).to_contain_text("1 person gets it again")
        await expect(page.locator("pre")).to_contain_text(f"Hello to {_LONG_ADDRESS}")
        await page.get_by_role("button", name="Resend to 1 person").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("[role=status]:focus")).to_contain_text("The resend goes out.")
        assert page.url.startswith(f"{opened.address}/campaigns/a-resend-1")
    assert (await both.ended("a-resend-1")).sent == 1


async def test_pages_with_a_sender_are_for_everybody(chromium_browser: Browser, both: Pair) -> None:
    """axe-core finds nothing, and nothing scrolls sideways, from 320 pixels on."""
    found = {}
    paths = ("/campaigns/a", "/campaigns/a/results", "/campaigns/a/resend?to=unknown&id=b")
    for width in (320, 1280):
        async with tab(chromium_browser, both.status_http, width=width) as opened:
            for path in paths:
                await opened.open(path)
                if violations := await opened.violations():
                    found[f"{path} at {width}"] = violations
                if overflow := await opened.overflow(width):
                    found[f"{path} at {width}, sideways"] = [str(overflow)]
    assert not found
