"""Renders every screen of the dashboard into docs/screenshots: ``make screenshots``.

The campaigns and the clock are always the same, and so is the text of each screen, which
is kept beside the pictures: a test renders the text again. Pictures differ with the fonts
of the machine.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser, Page, expect

from acceptance.browser import chromium
from acceptance.dashboard_campaigns import populate
from acceptance.dashboard_world import NOW, World, fixed_clock
from acceptance.screen_sender import screen_sender
from integration.databases import SqliteDatabase
from integration.key_support import make_key
from integration.status_support import status_settings
from service_runtime.caller import Scope
from status_service.server import running

FOLDER = Path(__file__).parents[2] / "docs/screenshots"
#: The screens, with their paths.
SCREENS = {
    "sign-in": "/sign-in",
    "campaigns": "/",
    "campaign-stalled": "/campaigns/renewal-2026-11",
    "campaign-sending": "/campaigns/digest-2026-w47",
    "campaign-completed": "/campaigns/invoices-2026-10",
    "mark-complete": "/campaigns/renewal-2026-11/complete",
    "cancel": "/campaigns/renewal-2026-11/cancel",
    "results": "/campaigns/invoices-2026-10/results?outcome=failed",
    "missing": "/campaigns/renewal-2026-11/missing",
    "resend": "/campaigns/invoices-2026-10/resend",
    "resend-review": "/campaigns/invoices-2026-10/resend?to=unknown&id=invoices-2026-10-resend-1",
    "problems": "/problems?again",
    "keyboard": "/keyboard",
}
#: Campaigns that are set back by hand for the page of problems: one that a repair mends, and
#: one that it has mended.
_STUCK, _MENDED = "loyalty-2026-w46", "shipping-delay-north"
ORGANISATION = "north"


class Look(NamedTuple):
    """A way to look at a screen: its name, how wide, and the scheme."""

    name: str
    width: int
    scheme: Any


LOOKS = (Look("light", 1280, "light"), Look("dark", 1280, "dark"), Look("phone", 360, "light"))


class Served(NamedTuple):
    """A service with the campaigns of the screens: where it is, a key, and its database."""

    address: str
    key: str
    database: SqliteDatabase


def _add_full(url: str) -> None:
    """Write the campaigns that are set back later."""
    world = World(url, NOW, ORGANISATION, before=100)
    try:
        for campaign_id, name, total in (
            (_STUCK, "Loyalty points, week 46", 10_000),
            (_MENDED, "Shipping delay, north", 4_000),
        ):
            end = world.ago(hours=5)
            world.add(
                campaign_id,
                "COMPLETED",
                display_name=name,
                total=total,
                parts=[("sent", 1, total, "", "")],
                create_time=world.ago(days=2),
                start_time=world.ago(hours=6),
                progress_time=end,
                complete_time=end,
                last_reporter="sender-eu-2",
                trail=[("SENDING", "COMPLETED", "RESULT", "sender-eu-2", "", "", end, 0)],
            )
    finally:
        world.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """Serve the campaigns of the screens."""
    with tempfile.TemporaryDirectory() as folder, fixed_clock(NOW):
        database = SqliteDatabase(Path(folder) / "status.db")
        populate(database.url, organisation=ORGANISATION)
        _add_full(database.url)
        key = make_key(
            database,
            organisation=ORGANISATION,
            name="ops",
            scopes=[Scope.READ, Scope.WRITE, Scope.REPAIR],
        )
        # Its own passes would mend what the screens show as stuck.
        async with screen_sender() as sender_address:
            settings = status_settings(
                database, reconcile_interval_seconds=86_400, sender_address=sender_address
            )
            async with running(settings) as service:
                yield Served(f"http://{service.http_address}", key.text, database)


@asynccontextmanager
async def looking(browser: Browser, served: Served, look: Look) -> AsyncIterator[Page]:
    """Open a tab whose clock stands still, signed in."""
    context = await browser.new_context(
        viewport={"width": look.width, "height": 800}, color_scheme=look.scheme
    )
    try:
        page = await context.new_page()
        await page.clock.set_fixed_time(NOW)
        await page.goto(f"{served.address}/sign-in")
        await page.get_by_label("API key").fill(served.key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{served.address}/")
        yield page
    finally:
        await context.close()


def _set_back(served: Served, campaign_id: str, *, less: int = 0) -> None:
    """Open a campaign that is completed, by hand; count so many of its messages less."""
    with served.database.by_hand() as connection:
        connection.execute(
            "UPDATE campaigns SET state = 'SENDING', complete_time = NULL, sent = sent - ?"
            " WHERE campaign_id = ?",
            (less, campaign_id),
        )


async def _break_and_mend(page: Page, served: Served) -> None:
    """Leave one campaign to be repaired, and another that a repair has mended."""
    _set_back(served, _MENDED, less=1_000)
    await page.goto(f"{served.address}{SCREENS['problems']}")
    await page.get_by_role("button", name="Fix").first.click()
    await expect(page.locator("#last")).to_be_visible()
    _set_back(served, _STUCK)


async def show(page: Page, served: Served, name: str) -> None:
    """Go to a screen and wait until it is as it stays."""
    if name == "sign-in":
        await page.context.clear_cookies()
    if name == "problems":
        await _break_and_mend(page, served)
    await page.goto(f"{served.address}{SCREENS[name]}")
    if await page.locator("body[data-stream]").count():
        await expect(page.locator("#live-text")).to_have_text("Live")
    await page.evaluate("document.activeElement.blur()")


async def text_of(page: Page) -> str:
    """Return what can be read on a screen, one piece in a line."""
    lines = (await page.locator("body").inner_text()).splitlines()
    return "".join(f"{line.strip()}\n" for line in lines if line.strip())


async def texts(browser: Browser) -> dict[str, str]:
    """Return the text of each screen."""
    found = {}
    async with serving() as served, looking(browser, served, LOOKS[0]) as page:
        for name in sorted(SCREENS, key=lambda one: one == "sign-in"):
            await show(page, served, name)
            found[name] = await text_of(page)
    return found


async def _render() -> None:
    FOLDER.mkdir(exist_ok=True)
    async with chromium() as browser, serving() as served:
        for look in LOOKS:
            async with looking(browser, served, look) as page:
                for name in sorted(SCREENS, key=lambda one: one == "sign-in"):
                    await show(page, served, name)
                    await page.screenshot(
                        path=FOLDER / f"{name}-{look.name}.png",
                        full_page=name != "results",  # its rows go on
                        animations="disabled",
                    )
    async with chromium() as browser:
        for name, text in (await texts(browser)).items():
            (FOLDER / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    asyncio.run(_render())
