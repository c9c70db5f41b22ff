"""The screenshots of the documents show what the pages show today."""

from __future__ import annotations

from playwright.async_api import Browser

from acceptance.screenshots import FOLDER, LOOKS, SCREENS, texts


async def test_screens_read_as_their_pictures(chromium_browser: Browser) -> None:
    """Their text is the same; `make screenshots` renders both again."""
    found = await texts(chromium_browser)
    assert found == {name: (FOLDER / f"{name}.txt").read_text() for name in SCREENS}


def test_every_screen_has_its_pictures() -> None:
    """In the light, in the dark, and on a phone; and there are no others."""
    wanted = {f"{name}-{look.name}.png" for name in SCREENS for look in LOOKS}
    assert {path.name for path in FOLDER.glob("*.png")} == wanted
