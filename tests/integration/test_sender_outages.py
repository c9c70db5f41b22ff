"""A provider that takes nobody's message: who waits, who probes, what people see, what stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.held_campaigns import held_up
from integration.sender_pair import pair
from sender_service.channels.contract import Answer, Fault, Message, Reply
from sender_service.domain import ProblemKind

if TYPE_CHECKING:
    from pathlib import Path

Kind = status_pb2.Problem.Kind
#: A clock so slow that no second probe comes.
_STANDS_STILL = 1e-4
_FAST = 200.0


async def test_two_campaigns_probe_their_dead_provider_once(tmp_path: Path) -> None:
    """One check for both, no message while it fails; each campaign says why it waits."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 40)
        await held_up(both, "c1")
        await both.begin("c2", 40)
        problem = await held_up(both, "c2")
        assert problem.summary == "the provider can't be reached"
        assert problem.detail == "connect connection refused"
        assert problem.provider == both.channel.provider
        assert problem.needs_attention
        assert problem.deadline_time.ToDatetime(UTC) > datetime.now(UTC) + timedelta(hours=71)
        assert (both.channel.checks, both.channel.calls) == (1, [])


async def test_two_campaigns_send_one_message_to_a_provider_that_fails_later(
    tmp_path: Path,
) -> None:
    """Where the check passes, one message of either campaign is at stake, not one of each."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        both.channel.hold.clear()
        await both.begin("c1", 40)
        await both.begin("c2", 40)
        await support.eventually(lambda: both.channel.flying == 1)
        both.channel.hold.set()
        await held_up(both, "c1")
        await held_up(both, "c2")
        assert (both.channel.checks, len(both.channel.calls)) == (1, 1)


class Bad:
    """A provider that takes nobody's message until a test lets it, and then not at once.

    Args:
        reply: what it answers.
        each: everybody is refused once, also later, as by greylisting.
    """

    def __init__(self, reply: Reply, *, each: bool = False) -> None:
        self._reply = reply
        self._each = each
        self._refused: set[int] = set()
        self._tries_left: int | None = None

    def end_soon(self) -> None:
        """Take messages after a few more tries."""
        self._tries_left = 5

    def __call__(self, message: Message) -> Reply:
        """Answer a message."""
        new = message.sequence not in self._refused
        self._refused.add(message.sequence)
        if self._tries_left is None:
            return self._reply
        if self._each:
            return self._reply if new else support.ACCEPTED
        self._tries_left -= 1
        return self._reply if self._tries_left >= 0 else support.ACCEPTED


def fault(kind: ProblemKind, code: str, *, retry_after: float | None = None) -> Reply:
    """Return the reply of a provider that says that it means everybody."""
    return Reply(
        Answer.PROVIDER_FAULT,
        code=code,
        detail="not now",
        retry_after_seconds=retry_after,
        fault=Fault(kind, f"the provider answered {code}"),
    )


HOURS = {
    "greylisting": (lambda: Bad(support.DEFERRED, each=True), Kind.PROVIDER_DEFERS),
    "421": (lambda: Bad(fault(ProblemKind.PROVIDER_DEFERS, "421")), Kind.PROVIDER_DEFERS),
    "450": (lambda: Bad(Reply(Answer.DEFERRED, code="450")), Kind.PROVIDER_DEFERS),
    "429": (
        lambda: Bad(fault(ProblemKind.PROVIDER_DEFERS, "429", retry_after=60)),
        Kind.PROVIDER_DEFERS,
    ),
    "554-to-mail": (
        lambda: Bad(fault(ProblemKind.PROVIDER_REFUSES, "554")),
        Kind.PROVIDER_REFUSES,
    ),
    "404": (lambda: Bad(fault(ProblemKind.PROVIDER_REFUSES, "404")), Kind.PROVIDER_REFUSES),
    "550-to-everybody": (lambda: Bad(support.REFUSED), Kind.PROVIDER_REFUSES),
    "unreachable": (lambda: Bad(support.UNREACHABLE), Kind.PROVIDER_UNREACHABLE),
}


@pytest.mark.parametrize("hour", HOURS)
async def test_s18_a_bad_hour_fails_nobody(tmp_path: Path, hour: str) -> None:
    """The campaign says why it waits, finishes by itself, and everybody gets one message."""
    make, kind = HOURS[hour]
    script = make()
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.script = script
        both.options = pb.DeliveryOptions(
            retry={"initial_backoff": {"nanos": 300_000_000}, "max_backoff": {"seconds": 1}}
        )
        await both.begin("c1", 100)
        await held_up(both, "c1", kind)
        script.end_soon()
        campaign = await both.ended("c1")
        assert (campaign.sent, campaign.failed, campaign.unknown) == (100, 0, 0)
        assert both.channel.accepted() == list(range(1, 101))
        assert not (await both.finished("c1")).problems


async def test_no_try_is_spent_while_most_messages_are_deferred(tmp_path: Path) -> None:
    """Twenty answers show it; after them one message at a time is tried, and none counts."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.concurrency = 1
        both.channel.script = lambda _: support.DEFERRED
        both.options = pb.DeliveryOptions(retry={"initial_backoff": {"seconds": 3_000}})
        await both.begin("c1", 40)
        problem = await held_up(both, "c1", Kind.PROVIDER_DEFERS)
        assert problem.detail == "451 later"
        assert not problem.needs_attention
        assert len(both.channel.calls) == 20


async def test_the_first_refusals_of_a_campaign_are_no_verdict(tmp_path: Path) -> None:
    """After twenty of them, and no acceptance, a person is asked to look."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.script = lambda _: support.REFUSED
        await both.begin("c1", 60)
        problem = await held_up(both, "c1", Kind.PROVIDER_REFUSES)
        assert problem.summary == "the first 20 messages were all refused"
        assert problem.detail == "550 no such user"
        assert problem.needs_attention
        campaign = await both.status.get_campaign(campaign_id="c1")
        assert (campaign.processed, campaign.failed) == (0, 0)


async def test_a_small_campaign_of_refused_people_ends(tmp_path: Path) -> None:
    """Each of them is refused for good, without a person and without a long wait."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda _: support.REFUSED
        await both.begin("c1", 7)
        assert (await both.ended("c1")).failed == 7
        assert not (await both.finished("c1")).problems


async def test_refusals_after_an_acceptance_are_results(tmp_path: Path) -> None:
    """A provider that takes some people of a campaign means those whom it refuses."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda m: support.ACCEPTED if m.sequence == 5 else support.REFUSED
        await both.begin("c1", 60)
        campaign = await both.ended("c1")
        assert (campaign.sent, campaign.failed) == (1, 59)


@pytest.mark.parametrize("reply", [support.REFUSED, fault(ProblemKind.PROVIDER_REFUSES, "554")])
async def test_l5_a_campaign_that_is_refused_holds_up_no_other(
    tmp_path: Path, reply: Reply
) -> None:
    """It waits with its problem while the provider takes the messages of others."""
    async with pair(tmp_path, speed=20) as both:
        bad = {"bad"}
        both.channel.script = lambda m: reply if m.campaign_id in bad else support.ACCEPTED
        await both.begin("good", 5)
        await both.begin("bad", 60)
        await held_up(both, "bad", Kind.PROVIDER_REFUSES)
        await both.begin("large", 400)
        assert (await both.ended("large")).sent == 400
        assert (await held_up(both, "bad")).kind == Kind.PROVIDER_REFUSES
        assert (await both.status.get_campaign(campaign_id="bad")).failed == 0
        bad.clear()
        assert (await both.ended("bad")).sent == 60
