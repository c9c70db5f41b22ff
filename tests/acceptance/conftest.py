"""One Chromium for all tests that drive a browser; where it is missing, they are left out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from acceptance.browser import CHROMIUM, GET_CHROMIUM, chromium

#: Modules whose tests need Chromium.
_IN_CHROMIUM = ("test_dashboard_browser", "test_mending_browser", "test_screenshots")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_browser() -> AsyncIterator[Browser]:
    """Chromium, one for all tests of a process."""
    async with chromium() as browser:
        yield browser


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need Chromium, where there is none."""
    if CHROMIUM:
        return
    left_out = [item for item in items if item.path.stem in _IN_CHROMIUM]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if not CHROMIUM:
        names = ", ".join(_IN_CHROMIUM)
        terminalreporter.write_line(f"left out, for want of Chromium: {names}; {GET_CHROMIUM}")
