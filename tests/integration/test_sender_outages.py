"""A provider that takes nobody's message: who waits, who probes, what people see, what stays."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.sender_pair import Pair, pair
from sender_service.campaigns.directory import Directory
from sender_service.channels.contract import Answer, Fault, Handover, Message, Reply
from sender_service.delivery import provider as provider_module
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Gate
from sender_service.delivery.provider import Provider
from sender_service.domain import ProblemKind
from sender_service.store import outages, schema
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Kind = status_pb2.Problem.Kind
#: A clock so slow that no second probe comes.
_STANDS_STILL = 1e-4
_FAST = 200.0


async def problem_of(both: Pair, campaign_id: str) -> status_pb2.Problem | None:
    """Return what holds a campaign up, if something does."""
    delivery = await both.sender.get_delivery(campaign_id=campaign_id)
    return delivery.problems[0] if delivery.problems else None


async def held_up(both: Pair, campaign_id: str, kind: int | None = None) -> status_pb2.Problem:
    """Wait for a problem of a campaign."""

    async def look() -> status_pb2.Problem | None:
        problem = await problem_of(both, campaign_id)
        return problem if problem is not None and kind in {None, problem.kind} else None

    problem: status_pb2.Problem = await support.eventually(look)
    return problem


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


async def test_a_silent_provider_is_shown_within_seconds(tmp_path: Path) -> None:
    """While the check still waits; one that never answered needs a person at once."""
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.hold_checks.clear()
        await both.begin("c1", 5)
        problem = await held_up(both, "c1", Kind.PROVIDER_UNREACHABLE)
        assert problem.summary == "scripted has not answered for 3 s"
        assert problem.setting.startswith("silence ")
        assert problem.detail == "the sender still waits, before it greeted"
        assert problem.needs_attention
        both.channel.hold_checks.set()
        assert (await both.ended("c1")).sent == 5
        assert not (await both.finished("c1")).problems


async def test_a_probe_without_an_answer_is_shown_within_seconds(tmp_path: Path) -> None:
    """It says how far the message has come; the provider was reached, so it may recover."""
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.hold.clear()
        await both.begin("c1", 5)
        problem = await held_up(both, "c1", Kind.PROVIDER_UNREACHABLE)
        assert problem.detail == "one message waits for an answer, after it was handed over"
        assert not problem.needs_attention
        both.channel.hold.set()
        assert (await both.ended("c1")).sent == 5


@pytest.mark.parametrize("defect", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_defect_of_a_check_is_a_fault_of_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: BaseException
) -> None:
    """It is shown, no message is sent, and the check is tried again."""
    async with pair(tmp_path, speed=_FAST) as both:

        async def check(handover: Handover | None = None) -> Reply:  # noqa: ARG001
            raise defect

        with monkeypatch.context() as patch:
            patch.setattr(both.channel, "check", check)
            await both.begin("c1", 5)
            problem = await held_up(both, "c1", Kind.PROVIDER_UNREACHABLE)
            assert problem.detail == f"channel_error {type(defect).__name__}"
            assert both.channel.calls == []
        assert (await both.ended("c1")).sent == 5


async def test_a_check_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that breaks its promise holds its campaigns up as one whose check fails."""
    monkeypatch.setattr(provider_module, "_CHECK_GRACE_SECONDS", 0.0)
    async with pair(tmp_path, speed=_FAST) as both:
        both.channel.timeout_seconds = 0.05
        both.channel.hold_checks.clear()
        await both.begin("c1", 5)
        await support.eventually(lambda: both.channel.checks >= 2)

        async def shown() -> bool:
            said = await both.problem("c1")
            return said.startswith("channel scripted can't reach its provider: timeout")

        await support.eventually(shown)
        both.channel.hold_checks.set()
        assert (await both.ended("c1")).sent == 5


async def test_a_stop_waits_for_no_check(tmp_path: Path) -> None:
    """S10: nothing is in doubt, and the next process sends everything once."""
    async with pair(tmp_path, grace_seconds=600) as both:
        both.channel.hold_checks.clear()
        await both.begin("c1", 40)
        await support.eventually(lambda: both.channel.checks == 1)
        async with asyncio.timeout(60):
            await both.stop_sender()
        assert both.channel.calls == []
        both.channel.hold_checks.set()
        await both.start_sender()
        assert (await both.ended("c1")).sent == 40
        assert both.channel.accepted() == list(range(1, 41))


@pytest.mark.parametrize("times", [1, 1_000])
async def test_l7_a_stop_waits_for_no_check_that_ignores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A library below a channel may lose a cancellation, or all of them."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def check(handover: Handover | None = None) -> Reply:  # noqa: ARG001
        began.set()
        for _ in range(times):
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()
        return support.ACCEPTED

    async with pair(tmp_path, grace_seconds=600) as both:
        monkeypatch.setattr(both.channel, "check", check)
        both.channel.timeout_seconds = 600
        await both.begin("c1", 5)
        await began.wait()
        async with asyncio.timeout(30):
            await both.stop_sender()
        ended.set()


async def test_a_kill_beside_a_silent_provider_leaves_one_message_in_doubt(tmp_path: Path) -> None:
    """A new process hands over one message, and more only after its answer."""
    async with pair(tmp_path) as both:
        both.channel.hold.clear()
        await both.begin("c1", 40)
        await both.begin("c2", 40)
        await support.eventually(lambda: both.channel.flying == 1)

        async def doubts() -> int:
            found = [await both.sender.get_delivery(campaign_id=name) for name in ("c1", "c2")]
            return sum(delivery.in_doubt for delivery in found)

        assert await doubts() == 1
        both.channel.hold.set()
        assert (await both.ended("c1")).sent == (await both.ended("c2")).sent == 40


async def test_an_outage_outlives_a_restart(tmp_path: Path) -> None:
    """It began when it began, and its deadline stays."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 5)
        before = await held_up(both, "c1")
        await both.stop_sender()
        await both.start_sender()
        after = await held_up(both, "c1")
        assert after.since_time == before.since_time
        assert after.deadline_time == before.deadline_time


async def test_the_time_without_a_process_counts_for_no_deadline(tmp_path: Path) -> None:
    """An outage goes on at the start as long as it was when the provider was tried last."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)
        now = datetime.now(UTC)
        since, tried = now - timedelta(hours=30), now - timedelta(hours=20)
        await store.write(lambda c: outages.note_outage(c, row.campaign, since=since))
        await store.write(outages.note_tried)
        table = schema.meta
        await store.write(
            lambda c: c.execute(
                sa.update(table)
                .where(table.c.name == "provider_tried_time")
                .values(value=tried.isoformat())
            )
        )
        await store.write(outages.resume_outages)
        (stored,) = await support.rows(store, sa.select(schema.campaigns))
        assert abs(now - timedelta(hours=10) - stored.unreachable_time) < timedelta(minutes=2)


async def stored_outage(tmp_path: Path) -> Any:
    """Return the row of the one campaign of a stopped sender."""
    async with support.open_store(tmp_path) as store:
        (row,) = await support.rows(store, sa.select(schema.campaigns))
        return row


async def test_a_pause_is_no_part_of_an_outage(tmp_path: Path) -> None:
    """A paused campaign has no problem, and its outage begins again with the resume."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 5)
        before = await held_up(both, "c1")
        await both.status.pause_campaign(campaign_id="c1")

        async def cleared() -> bool:
            return await problem_of(both, "c1") is None

        await support.eventually(cleared)
        await both.status.resume_campaign(campaign_id="c1")
        after = await held_up(both, "c1")
        assert after.since_time.ToDatetime() > before.since_time.ToDatetime()
        await both.status.pause_campaign(campaign_id="c1")
        await support.eventually(cleared)
        await both.stop_sender()
        assert (await stored_outage(tmp_path)).unreachable_time is None


async def test_a_store_that_fails_learns_of_the_outage_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not take is shown and forgotten as soon as it answers again."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)
        directory = Directory(store)
        channel, clock = support.ScriptedChannel(), Clock()
        provider = Provider(store, directory, channel, clock)
        gate = Gate(provider.shared, directory.add(row), remaining=1, deadline_seconds=3600)
        provider.attend(gate)

        async def failing(_: Any) -> Any:
            raise StoreUnavailableError("the test says so")

        async def shown(*, fails: bool) -> tuple[bool, bool]:
            with monkeypatch.context() as patch:
                if fails:
                    patch.setattr(store, "write", failing)
                    with pytest.raises(StoreUnavailableError):
                        await gate.show(directory)
                else:
                    await gate.show(directory)
            (stored,) = await support.rows(store, sa.select(schema.campaigns))
            return stored.unreachable_time is not None, stored.problems != "[]"

        breaker = provider.shared.breaker
        assert support.UNREACHABLE.fault is not None
        provider.shared.open(support.UNREACHABLE.fault, "gone", retry_after_seconds=None)
        assert await shown(fails=True) == (False, False)
        assert not gate.outage.is_over
        assert await shown(fails=False) == (True, True)
        before = breaker.state
        breaker.close()
        provider.shared.moved(before)
        assert await shown(fails=True) == (True, True)
        assert not gate.outage.is_over
        assert await shown(fails=False) == (False, False)
        assert gate.outage.is_over


async def test_an_outage_that_is_over_is_forgotten(tmp_path: Path) -> None:
    """A later one counts nothing of it."""
    async with pair(tmp_path, speed=_FAST) as both:
        failing = [True]
        script: Callable[[Message], Reply] = lambda m: (  # noqa: E731
            support.UNREACHABLE if failing[0] or m.sequence > 5 else support.ACCEPTED
        )
        both.channel.script = script
        await both.begin("c1", 10)
        before = await held_up(both, "c1")
        failing[0] = False
        await support.eventually(lambda: len(both.channel.accepted()) == 5)

        async def later() -> bool:
            problem = await problem_of(both, "c1")
            return problem is not None and (
                problem.since_time.ToDatetime() > before.since_time.ToDatetime()
            )

        await support.eventually(later)
        both.channel.script = lambda _: support.ACCEPTED
        assert (await both.ended("c1")).sent == 10
        await both.finished("c1")
        await both.stop_sender()
        assert (await stored_outage(tmp_path)).unreachable_time is None
