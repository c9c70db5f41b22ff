"""What holds a campaign up at the sender is known at the status service, and gone when it is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from closeout.errors import FailedPreconditionError, NotFoundError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration import sender_support as support
from integration.sender_pair import Pair, pair
from sender_service.campaigns import status_gateway
from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.delivery import activation
from sender_service.domain import ProblemKind
from sender_service.errors import TransitionNotAllowedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOGIN = Reply(
    Answer.PROVIDER_FAULT,
    code="535",
    detail="535 5.7.8 authentication failed",
    fault=Fault(
        ProblemKind.PROVIDER_REFUSES,
        "the mail server refuses the sender's login",
        setting="[smtp] password",
        needs_attention=True,
    ),
)


async def problems(both: Pair, campaign_id: str = "c1") -> list[pb.Problem]:
    """Return what the status service knows to hold a campaign up; nothing while it has none."""
    try:
        campaign = await both.status.get_campaign(campaign_id=campaign_id)
    except (UnavailableError, NotFoundError):
        return []
    return list(campaign.problems)


async def known(both: Pair, campaign_id: str = "c1") -> pb.Problem:
    """Wait until the status service knows of one problem; return it."""

    async def look() -> pb.Problem | None:
        found = await problems(both, campaign_id)
        return found[0] if len(found) == 1 else None

    found: pb.Problem = await support.eventually(look)
    return found


async def test_a_refused_login_is_known_before_anything_was_sent(tmp_path: Path) -> None:
    """With its setting, at once; it needs a person, and is gone with the first success."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda _: LOGIN
        both.channel.check_reply = LOGIN
        before = datetime.now(UTC) - timedelta(seconds=1)
        await both.begin("c1", 20)
        problem = await known(both)
        assert problem.summary
        assert problem.detail
        assert before <= problem.since_time.ToDatetime(UTC) <= datetime.now(UTC)
        explained = await both.status.explain_campaign(campaign_id="c1")
        assert explained.diagnosis.diagnosis == pb.CampaignDiagnosis.IN_PROGRESS
        assert explained.explanation.lower().startswith(problem.summary.lower())
        assert explained.diagnosis.campaign.processed == 0
        both.channel.script = lambda _: support.ACCEPTED
        both.channel.check_reply = support.ACCEPTED
        ended = await both.ended("c1")
        assert (ended.sent, list(ended.problems)) == (20, [])


async def test_a_restart_of_the_sender_clears_what_it_reported_before(tmp_path: Path) -> None:
    """Its first frame of a campaign says what holds it up now, which may be nothing."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 20)
        await known(both)
        await both.stop_sender()
        assert await problems(both), "nobody has said that it is gone"
        both.channel.script = lambda _: support.ACCEPTED
        both.channel.check_reply = support.ACCEPTED
        both.channel.hold.clear()
        await both.start_sender()

        async def cleared() -> bool:
            return not await problems(both)

        await support.eventually(cleared)
        assert not both.channel.accepted(), "before anything was accepted"
        both.channel.hold.set()
        assert (await both.ended("c1")).sent == 20


async def test_a_new_status_database_learns_of_it_again(tmp_path: Path) -> None:
    """Every stream begins with what holds the campaign up, so a lost report comes again."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 20)
        await known(both)
        await both.stop_status()
        await both.start_status("another.db")
        await known(both)
        both.channel.script = lambda _: support.ACCEPTED
        both.channel.check_reply = support.ACCEPTED
        assert (await both.ended("c1")).sent == 20


async def test_a_start_that_is_refused_is_known_where_it_is_refused(tmp_path: Path) -> None:
    """The campaign is sealed with another total by somebody else: the sender says so."""
    async with pair(tmp_path) as both:
        await both.create("c1", 20)
        await both.status.start_campaign(campaign_id="c1", total=7)
        with pytest.raises(FailedPreconditionError):
            await both.sender.start_campaign(campaign_id="c1")
        problem = await known(both)
        assert (problem.kind, problem.needs_attention) == (pb.Problem.START_REFUSED, True)
        explained = await both.status.explain_campaign(campaign_id="c1")
        assert explained.diagnosis.needs_attention
        await both.status.cancel_campaign(campaign_id="c1")
        assert not await problems(both)


@asynccontextmanager
async def _away(both: Pair) -> AsyncIterator[None]:
    await both.stop_status()
    yield
    await both.start_status()


async def test_that_the_status_service_is_away_is_not_reported_to_it(tmp_path: Path) -> None:
    """Where it would be read, it is no longer true."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 20)
        await known(both)
        async with _away(both):

            async def two() -> bool:
                delivery = await both.sender.get_delivery(campaign_id="c1")
                return len(delivery.problems) == 2

            await support.eventually(two)
        assert (await known(both)).kind == pb.Problem.PROVIDER_UNREACHABLE


async def test_a_draft_that_can_not_be_started_says_why_and_goes_on_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its problem comes before the seal; afterwards it is reported as any other campaign."""
    refuse = True
    seal = status_gateway.seal

    async def sealing(*arguments: Any, **options: Any) -> bool:
        if refuse:
            raise TransitionNotAllowedError("the test says so", metadata={})
        return await seal(*arguments, **options)

    monkeypatch.setattr(status_gateway, "seal", sealing)
    monkeypatch.setattr(activation, "STUCK_SECONDS", 0.1)
    async with pair(tmp_path) as both:
        await both.create("c1", 20)
        with pytest.raises(FailedPreconditionError):
            await both.sender.start_campaign(campaign_id="c1")
        problem = await known(both)
        assert (problem.kind, problem.detail) == (pb.Problem.START_REFUSED, "the test says so")
        explained = await both.status.explain_campaign(campaign_id="c1")
        assert explained.diagnosis.campaign.state == pb.Campaign.DRAFT
        assert explained.explanation.startswith("Not started: the status service refuses")
        assert explained.diagnosis.needs_attention
        refuse = False
        ended = await both.ended("c1")
        assert (ended.sent, list(ended.problems)) == (20, [])
        assert both.channel.accepted() == list(range(1, 21))
