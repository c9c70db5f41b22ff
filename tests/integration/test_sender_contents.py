"""Contents are compiled for a turn: what of them is held does not grow with the campaigns."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

from integration import sender_support as support
from integration.sender_pair import pair
from sender_service.channels.rendering.workers import TemplateWorkers
from sender_service.delivery import supervisor
from sender_service.delivery.contents import CompiledContents
from sender_service.delivery.fair_scheduler import FairScheduler

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from sender_service.channels.contract import Content, Template


class CountedTemplates(support.ScriptedChannel):
    """A channel that knows which of the templates it made are still held."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[weakref.ref[Template]] = []

    def compile(self, content: Content) -> Template:
        """Keep the content, and note it."""
        template = super().compile(content)
        self._made.append(weakref.ref(template))
        return template

    @property
    def compiled(self) -> int:
        """How many were made."""
        return len(self._made)

    @property
    def held(self) -> int:
        """How many of them somebody has."""
        return sum(made() is not None for made in self._made)


async def test_the_latest_contents_are_kept_up_to_their_limit(tmp_path: Path) -> None:
    """L5: a campaign whose turn comes again is not compiled again, if few others had theirs."""
    channel = CountedTemplates()
    async with support.open_store(tmp_path) as store:
        texts = [f'{{"kind": "text", "text": "{text}"}}' for text in ("x", "x", "x", "x" * 200)]
        rows = [
            await support.add_campaign(store, campaign_id=f"c{number}", messages=1, content=text)
            for number, text in enumerate(texts)
        ]
        three = sum(map(len, texts[:3]))
        contents = CompiledContents(store, TemplateWorkers(1), kept_bytes=three)
        for row in (*rows[:3], *rows[1:3]):
            await contents.get(row, channel)
        assert (channel.compiled, channel.held) == (3, 3)
        await contents.get(rows[3], channel)
        assert channel.compiled == 4
        await support.eventually(lambda: channel.held == 0)  # a thread may be about to let go
        await contents.get(rows[0], channel)
        await contents.get(rows[1], channel)
        contents.forget(rows[0].campaign)
        assert channel.compiled == 6
        await support.eventually(lambda: channel.held == 1)


async def test_campaigns_that_wait_for_their_turn_hold_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L5: nothing is compiled before a turn, and nothing held once the campaign has ended."""
    waiting: dict[str, FairScheduler] = {}

    class Known(FairScheduler):
        def __init__(self, at_once: int) -> None:
            super().__init__(at_once)
            waiting["for a turn"] = self

    monkeypatch.setattr(supervisor, "FairScheduler", Known)
    names = [f"c{number}" for number in range(4)]
    gc.disable()
    try:
        async with pair(tmp_path, concurrent_campaigns=1) as both:
            await both.stop_sender()
            both.channel = channel = CountedTemplates()
            await both.start_sender()
            await both.hold_calls()
            for name in names:
                await both.begin(name, 2)
            await support.eventually(
                lambda: bool(channel.flying) and waiting["for a turn"]._waiting == 3
            )
            assert channel.compiled == 1 + len(names) + 2
            assert channel.held == 1
            channel.hold.set()
            for name in names:
                assert (await both.ended(name)).sent == 2
            await support.eventually(lambda: channel.held == 0)
    finally:
        gc.enable()
