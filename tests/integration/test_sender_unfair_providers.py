"""Providers that fail in part, or in the middle: nobody pays for it, and every message ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.sender.v1 import sender_pb2 as pb
from integration import sender_support as support
from integration.sender_pair import pair
from sender_service.delivery import trial

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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


async def test_l3_refused_people_end_where_all_others_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else is left to show whether the provider refuses everybody."""
    monkeypatch.setattr(trial, "_FIRST_HOLD_SECONDS", 0.05)
    async with pair(tmp_path) as both:
        await both.begin("c1", 40, family="news")
        await both.ended("c1")
        both.channel.script = lambda _: support.REFUSED
        await both.create("c2", 43, family="news")
        await both.sender.start_campaign(
            campaign_id="c2", repeat=pb.StartCampaignRequest.Repeat.ONLY_NEW
        )
        campaign = await both.ended("c2")
        assert (campaign.skipped, campaign.failed) == (40, 3)
