"""Providers that fail in part, or in the middle: nobody pays for it, and every message ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration import sender_support as support
from integration.sender_pair import pair

if TYPE_CHECKING:
    from pathlib import Path

#: A clock so slow that no second probe comes.
_STANDS_STILL = 1e-4


async def test_a_provider_that_falls_silent_in_the_middle_costs_few_people(tmp_path: Path) -> None:
    """After five lost answers in a row the campaign waits, and says why."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.script = lambda m: support.ACCEPTED if m.sequence <= 20 else support.LOST
        await both.begin("c1", 400)
        problem = await support.eventually(lambda: both.problem("c1"))
        assert problem == "the provider takes a message and does not answer: timeout"
        lost = [n for n, answers in both.channel.answers.items() if support.LOST.answer in answers]
        assert 5 <= len(lost) < 5 + both.channel.concurrency
