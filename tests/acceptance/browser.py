"""Chromium of the system on pages of a service: what it complains about fails a test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

from acceptance.processes import PATIENCE_SECONDS

#: Windows that pages have to fit, pixels: the narrowest is one of 1280 at 400 %.
WIDTHS = (320, 360, 768, 1280, 1920)
#: Where Chromium is; empty: it is not installed, and providers/programs.py leaves out its tests.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or ""
#: How long a page may take; it needs far less.
_PATIENCE_MILLISECONDS = PATIENCE_SECONDS * 1_000
_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
#: How far each element moved by itself, added up: see layoutshift of the Performance API.
_SHIFTS = """
window.shifts = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shifts += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
_AXE = {
    "resultTypes": ["violations"],
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
}
#: What axe-core asks of colours alone.
COLOURS = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}

# Which is five seconds otherwise, whatever the page waits for.
expect.set_options(timeout=_PATIENCE_MILLISECONDS)


@dataclass
class Tab:
    """A page in Chromium, and what it complained about.

    Attributes:
        page: the page, as Playwright drives it.
        address: where the service is.
        complaints: errors of the console, of the script and of the policy.
        bytes: how long each answer was, by its address.
    """

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    bytes: dict[str, int] = field(default_factory=dict)

    async def open(self, path: str, status: int = 200) -> None:
        """Go to a page; its answer must have this status."""
        answer = await self.page.goto(f"{self.address}{path}")
        assert answer is not None
        assert answer.status == status, path
        self.bytes[path] = len(await answer.body())

    async def violations_in_both_schemes(self) -> list[str]:
        """Return the same of a page in the light, and of its colours in the dark.

        A scheme changes nothing but colours.
        """
        await self.page.emulate_media(color_scheme="light")
        found = await self.violations()
        await self.page.emulate_media(color_scheme="dark")
        found += await self.violations(COLOURS)
        return found

    async def violations(self, options: Mapping[str, object] = _AXE) -> list[str]:
        """Return what axe-core has against the page, one line for each rule and element."""
        found = await Axe().run(self.page, options=dict(options))
        return [
            f"{rule['id']}: {node['html'][:200]}"
            for rule in found.response["violations"]
            for node in rule["nodes"]
        ]

    async def shift(self) -> float:
        """Return how far what is on the page moved by itself, as layout shift."""
        return float(await self.page.evaluate("window.shifts"))

    async def overflow(self, width: int) -> int:
        """Return how many pixels the page is wider than a window of ``width``."""
        await self.page.set_viewport_size({"width": width, "height": 800})
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(await self.page.evaluate(wider))


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Chromium, and end it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],  # root has none
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def tab(
    browser: Browser,
    address: str,
    *,
    width: int = 1280,
    scheme: Any = "light",
    script: bool = True,
    cookies: Any = (),
    refusals: bool = False,
) -> AsyncIterator[Tab]:
    """Open a tab that has seen nothing; fail at the end if the page complained.

    Args:
        browser: started.
        address: HOST:PORT of the service.
        width: of the window, pixels.
        scheme: light or dark.
        script: pages may run their script.
        cookies: that the browser has already.
        refusals: answers of 400 and more, which the console names, are no complaint.
    """
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        java_script_enabled=script,
        # What fades has the colours of neither scheme for a moment.
        reduced_motion="reduce",
    )
    try:
        if cookies:
            await context.add_cookies(cookies)
        page = await context.new_page()
        page.set_default_timeout(_PATIENCE_MILLISECONDS)
        opened = Tab(page, f"http://{address}")
        await page.add_init_script(_VIOLATIONS + _SHIFTS)

        def heard(message: ConsoleMessage) -> None:
            is_refusal = refusals and "Failed to load resource" in message.text
            if message.type in {"error", "warning"} and not is_refusal:
                opened.complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        yield opened
        assert opened.complaints == []
    finally:
        await context.close()
