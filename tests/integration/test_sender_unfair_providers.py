"""Providers that fail in part, or in the middle: nobody pays for it, and every message ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from closeout.sender.v1 import sender_pb2 as pb
from integration import sender_support as support
from integration.sender_pair import pair
from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.delivery import provider, trial
from sender_service.domain import ProblemKind
from sender_service.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sender_service.channels.contract import Message

#: A clock so slow that no second probe comes.
_STANDS_STILL = 1e-4
_FAST = 200.0
_WAIT = Reply(
    Answer.PROVIDER_FAULT, code="421", fault=Fault(ProblemKind.PROVIDER_DEFERS, "it says: wait")
)


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


def odd_first(message: Message) -> Reply:
    """Fault one person only, the first of the campaign."""
    return _WAIT if message.sequence == 1 else support.ACCEPTED


def odd_after_a_shard(message: Message) -> Reply:
    """Fault one person only, the last of the first shard."""
    return _WAIT if message.sequence == 50 else support.ACCEPTED


@pytest.mark.parametrize("script", [odd_first, odd_after_a_shard])
async def test_l5_one_odd_person_holds_up_no_other(
    tmp_path: Path, script: Callable[[Message], Reply]
) -> None:
    """Where the provider faults one alone, the probes get to the others."""
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.concurrency = 1
        both.channel.script = script
        await both.begin("c1", 120)
        await support.eventually(lambda: len(both.channel.accepted()) == 119)
        both.channel.script = lambda _: support.ACCEPTED
        assert (await both.ended("c1")).sent == 120


async def test_dead_addresses_at_the_top_hold_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty refusals make a provider suspect, and a probe with another person clears it."""
    monkeypatch.setattr(trial, "_FIRST_HOLD_SECONDS", 0.05)
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.script = lambda m: support.REFUSED if m.sequence <= 25 else support.ACCEPTED
        await both.begin("c1", 120)
        campaign = await both.ended("c1")
        assert (campaign.sent, campaign.failed) == (95, 25)


async def test_a_long_wait_for_a_provider_is_no_time_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the provider has asked for an hour, the store keeps learning that a process waits."""
    monkeypatch.setattr(provider, "_NOTE_SECONDS", 0.05)
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.script = lambda _: replace(_WAIT, retry_after_seconds=3_000.0)
        await both.begin("c1", 5)
        await support.eventually(lambda: both.problem("c1"))
        engine = sa.create_engine(f"sqlite:///{both.folder}/sender.db")
        query = sa.select(schema.meta.c.value).where(schema.meta.c.name == "provider_tried_time")

        def tried() -> str | None:
            with engine.connect() as connection:
                return connection.execute(query).scalar_one_or_none()

        first = await support.eventually(tried)
        await support.eventually(lambda: tried() != first)
        engine.dispose()
        assert len(both.channel.calls) == 1


async def test_l5_people_who_are_deferred_again_and_again_hold_up_nobody(tmp_path: Path) -> None:
    """A domain that can't be reached leaves a tail of retries, which says nothing of the rest."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.script = lambda m: support.ACCEPTED if m.sequence % 3 else support.DEFERRED
        both.options = pb.DeliveryOptions(
            retry={"initial_backoff": {"nanos": 50_000_000}, "max_attempts": 4}
        )
        await both.begin("c1", 120)
        campaign = await both.ended("c1")
        assert (campaign.sent, campaign.failed) == (80, 40)
        assert {len(answers) for answers in both.channel.answers.values()} == {1, 4}
