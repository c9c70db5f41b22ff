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
from acceptance.dashboard_world import NOW, fixed_clock, populate
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
    "problems": "/problems",
    "keyboard": "/keyboard",
}
ORGANISATION = "north"


class Look(NamedTuple):
    """A way to look at a screen: its name, how wide, and the scheme."""

    name: str
    width: int
    scheme: Any


LOOKS = (Look("light", 1280, "light"), Look("dark", 1280, "dark"), Look("phone", 360, "light"))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, str]]:
    """Serve the campaigns of the screens; yield the address and a key."""
    with tempfile.TemporaryDirectory() as folder, fixed_clock(NOW):
        database = SqliteDatabase(Path(folder) / "status.db")
        populate(database.url, organisation=ORGANISATION)
        key = make_key(
            database,
            organisation=ORGANISATION,
            name="ops",
            scopes=[Scope.READ, Scope.WRITE, Scope.REPAIR],
        )
        async with running(status_settings(database)) as service:
            yield f"http://{service.http_address}", key.text


@asynccontextmanager
async def looking(browser: Browser, address: str, key: str, look: Look) -> AsyncIterator[Page]:
    """Open a tab whose clock stands still, signed in."""
    context = await browser.new_context(
        viewport={"width": look.width, "height": 800}, color_scheme=look.scheme
    )
    try:
        page = await context.new_page()
        await page.clock.set_fixed_time(NOW)
        await page.goto(f"{address}/sign-in")
        await page.get_by_label("API key").fill(key)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{address}/")
        yield page
    finally:
        await context.close()


async def show(page: Page, address: str, name: str) -> None:
    """Go to a screen and wait until it is as it stays."""
    if name == "sign-in":
        await page.context.clear_cookies()
    await page.goto(f"{address}{SCREENS[name]}")
    if await page.locator("body[data-stream]").count():
        await expect(page.locator("#live-text")).to_have_text("Live", timeout=20_000)
    await page.evaluate("document.activeElement.blur()")


async def text_of(page: Page) -> str:
    """Return what can be read on a screen, one piece in a line."""
    lines = (await page.locator("body").inner_text()).splitlines()
    return "".join(f"{line.strip()}\n" for line in lines if line.strip())


async def texts(browser: Browser) -> dict[str, str]:
    """Return the text of each screen."""
    found = {}
    async with serving() as (address, key), looking(browser, address, key, LOOKS[0]) as page:
        for name in sorted(SCREENS, key=lambda one: one == "sign-in"):
            await show(page, address, name)
            found[name] = await text_of(page)
    return found


async def _render() -> None:
    FOLDER.mkdir(exist_ok=True)
    async with chromium() as browser, serving() as (address, key):
        for look in LOOKS:
            async with looking(browser, address, key, look) as page:
                for name in sorted(SCREENS, key=lambda one: one == "sign-in"):
                    await show(page, address, name)
                    await page.screenshot(
                        path=FOLDER / f"{name}-{look.name}.png",
                        full_page=True,
                        animations="disabled",
                    )
    async with chromium() as browser:
        for name, text in (await texts(browser)).items():
            (FOLDER / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    asyncio.run(_render())
