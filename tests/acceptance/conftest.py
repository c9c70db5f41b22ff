"""One Chromium for all tests that drive a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from acceptance.browser import chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_browser() -> AsyncIterator[Browser]:
    """Chromium, one for all tests of a process."""
    async with chromium() as browser:
        yield browser
