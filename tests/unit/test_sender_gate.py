"""Who probes a provider, and which campaigns a fault of it holds up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Gate, Held
from sender_service.delivery.shared_provider import SharedProvider
from sender_service.domain import Outcome, ProblemKind
from sender_service.verdicts import Answer, Fault, Finished, Reply, Requeue, Retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SENT = Finished(Outcome.SENT)
FAILED = Finished(Outcome.FAILED)
ACCEPTED = Reply(Answer.ACCEPTED)
REFUSES = Reply(
    Answer.PROVIDER_FAULT,
    code="554",
    fault=Fault(ProblemKind.PROVIDER_REFUSES, "it refuses the sender", needs_attention=True),
)


class Time(Clock):
    """A clock that a test sets."""

    seconds = 1_000.0
    set_by = timedelta()

    def wall(self) -> datetime:
        """Return the time of day, as somebody set it."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=Time.seconds) + Time.set_by

    def now(self) -> float:
        """Return the time."""
        return Time.seconds


def provider() -> SharedProvider:
    """Return a provider that was checked and lets one message through."""
    channel: Any = SimpleNamespace(name="smtp", provider="smtp.example.com:587")
    clock = Time()
    breaker = CircuitBreaker(clock.now)
    breaker.pass_check()
    return SharedProvider(channel, clock, breaker)


def gate(
    shared: SharedProvider, number: int, *, remaining: int = 1_000, organisation: str = "default"
) -> Gate:
    """Return what stands before a campaign."""
    row: Any = SimpleNamespace(
        campaign=number,
        campaign_id=f"c{number}",
        organisation=organisation,
        unreachable_time=None,
    )
    active = ActiveCampaign(row)
    return Gate(shared, active, remaining=remaining, deadline_seconds=3_600)


def probe(one: Gate, reply: Reply, effect: Any = SENT) -> Any:
    """Send the one message of a campaign."""
    assert one.take_probe()
    try:
        return one.judge(1, reply, effect)
    finally:
        one.give_back_probe()


def half_open(shared: SharedProvider) -> None:
    """Let the wait pass, and the check."""
    Time.seconds += shared.breaker.due_seconds
    shared.breaker.half_open()
    shared.breaker.pass_check()


@asynccontextmanager
async def waiting(*gates: Gate) -> AsyncIterator[None]:
    """Have campaigns wait for their provider during the block."""
    tasks = [asyncio.create_task(one.wait()) for one in gates]
    await asyncio.sleep(0)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_one_campaign_probes_at_a_time() -> None:
    """A second one gets the probe when the first has given it back."""
    shared = provider()
    first, second = gate(shared, 1), gate(shared, 2)
    assert first.take_probe()
    assert not second.take_probe()
    assert (first.may_send, second.may_send) == (True, False)
    first.give_back_probe()
    assert second.take_probe()


def test_every_other_probe_is_a_message_that_was_never_tried() -> None:
    """While nothing is probed, messages go out in their order."""
    one, wanted = gate(provider(), 1), []
    for _ in range(4):
        assert not one.wants_untried
        assert one.take_probe()
        wanted.append(one.wants_untried)
        one.give_back_probe()
    assert wanted == [True, False, True, False]


def test_s13_what_a_provider_says_of_ones_message_is_shown_to_no_other_organisation() -> None:
    """Its words may name a recipient; the fault itself is everybody's, and so is a check."""
    shared = provider()
    ours, theirs = gate(shared, 1, organisation="ours"), gate(shared, 2, organisation="theirs")
    assert isinstance(probe(ours, REFUSES), Requeue)
    shown = [one.outage.problem() for one in (ours, theirs)]
    assert shown[0] is not None
    assert shown[1] is not None
    assert shown[0].detail == shared.breaker.words
    assert shared.breaker.words not in shown[1].detail
    assert shown[0].summary == shown[1].summary
    shared.breaker.judging = ""
    shared.open(Fault(ProblemKind.PROVIDER_UNREACHABLE, "gone"), "gone", retry_after_seconds=None)
    assert {one.outage.problem().detail for one in (ours, theirs)} == {"gone"}  # type: ignore[union-attr]


async def test_who_waits_for_the_probe_gets_it_as_soon_as_it_is_given_back() -> None:
    """Not at its own next look, half a minute later."""
    shared = provider()
    first, second = gate(shared, 1), gate(shared, 2)
    assert first.take_probe()
    waits = asyncio.create_task(second.wait())
    await asyncio.sleep(0)
    first.give_back_probe()
    async with asyncio.timeout(20.0):
        await waits
    assert second.take_probe()


def test_nobody_probes_before_the_check() -> None:
    """A provider that never greets gets no message."""
    shared = provider()
    shared.breaker.checked = False
    assert not gate(shared, 1).take_probe()


def test_the_log_says_that_a_provider_recovered_only_after_a_fault() -> None:
    """Before that it was reached for the first time."""
    shared = provider()
    one = gate(shared, 1)
    with capture_logs() as logged:
        probe(one, ACCEPTED)
        shared.open(
            Fault(ProblemKind.PROVIDER_UNREACHABLE, "gone"), "gone", retry_after_seconds=None
        )
        half_open(shared)
        probe(one, ACCEPTED)
    closed = [line["event"] for line in logged if line.get("state") is Breaker.CLOSED]
    assert closed == ["provider_reached", "provider_recovered"]


def test_the_log_says_the_same_of_a_provider_once() -> None:
    """However often it fails so; another fault, other words and the next outage are news."""
    shared = provider()
    gone = Fault(ProblemKind.PROVIDER_UNREACHABLE, "gone")
    refuses = Fault(ProblemKind.PROVIDER_REFUSES, "refuses")
    with capture_logs() as logged:
        for fault, words in ((gone, "a"), (gone, "a"), (gone, "b"), (refuses, "b"), (refuses, "b")):
            shared.open(fault, words, retry_after_seconds=None)
            half_open(shared)
        probe(gate(shared, 1), ACCEPTED)
        shared.open(refuses, "b", retry_after_seconds=None)
    assert [(line["event"], line.get("reason")) for line in logged] == [
        ("provider_unreachable", "gone: a"),
        ("provider_unreachable", "gone: b"),
        ("provider_refuses", "refuses: b"),
        ("provider_recovered", None),
        ("provider_refuses", "refuses: b"),
    ]


async def test_campaigns_take_turns_at_probing() -> None:
    """One that probed in vain lets those go first that wait and did not."""
    shared = provider()
    first, second = gate(shared, 1), gate(shared, 2)
    assert isinstance(probe(first, REFUSES), Requeue)
    half_open(shared)
    async with waiting(second):
        assert not first.take_probe()
    assert probe(second, ACCEPTED) is SENT
    assert shared.breaker.state is Breaker.CLOSED


async def test_nobody_lets_a_campaign_go_first_that_can_not_probe() -> None:
    """One that its provider refuses alone waits longer than the others."""
    shared = provider()
    good, bad = gate(shared, 1), gate(shared, 2)
    probe(good, ACCEPTED)
    bad.judge(1, REFUSES, FAILED)
    shared.open(Fault(ProblemKind.PROVIDER_UNREACHABLE, "gone"), "gone", retry_after_seconds=None)
    half_open(shared)
    async with waiting(bad):
        assert not bad.take_probe()
        assert good.take_probe()


def test_a_provider_that_takes_others_holds_up_one_campaign() -> None:
    """It waits alone, and goes on after its own probe is taken."""
    shared = provider()
    good, bad = gate(shared, 1), gate(shared, 2)
    probe(good, ACCEPTED)
    assert isinstance(bad.judge(1, REFUSES, FAILED), Requeue)
    assert (good.may_send, bad.may_send, bad.take_probe()) == (True, False, False)
    assert good.outage.problem() is None
    problem = bad.outage.problem()
    assert problem is not None
    assert problem.kind is ProblemKind.PROVIDER_REFUSES
    Time.seconds += 5
    assert probe(bad, ACCEPTED) is SENT
    assert bad.is_closed
    assert bad.outage.problem() is None


def test_the_last_campaign_that_is_refused_holds_up_all() -> None:
    """Where nobody's messages are taken, the provider refuses the sender."""
    shared = provider()
    first, second = gate(shared, 1), gate(shared, 2)
    probe(first, ACCEPTED)
    second.judge(1, ACCEPTED, SENT)
    first.judge(2, REFUSES, FAILED)
    assert shared.breaker.state is Breaker.CLOSED
    second.judge(2, REFUSES, FAILED)
    assert shared.breaker.state is Breaker.OPEN


def test_an_outage_that_ended_unseen_is_no_part_of_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S18: the deadline counts from when the provider took nothing any more."""
    monkeypatch.setattr(Time, "seconds", Time.seconds)
    shared = provider()
    waits, other = gate(shared, 1), gate(shared, 2)
    probe(waits, REFUSES)
    first = waits.outage.seconds_left
    half_open(shared)
    Time.seconds += 600
    probe(other, ACCEPTED)
    other.judge(2, REFUSES, FAILED)
    assert shared.breaker.state is Breaker.OPEN
    assert waits.outage.seconds_left == first


def test_late_answers_neither_close_nor_prolong() -> None:
    """Messages that were on their way when the breaker opened change nothing."""
    shared = provider()
    one = gate(shared, 1)
    probe(one, ACCEPTED)
    one.judge(2, REFUSES, FAILED)
    due = shared.breaker.due_seconds
    assert isinstance(one.judge(3, REFUSES, FAILED), Requeue)
    assert one.judge(4, ACCEPTED, SENT) is SENT
    assert isinstance(one.judge(5, Reply(Answer.DEFERRED), Retry(60, lost=False)), Requeue)
    assert isinstance(one.judge(6, Reply(Answer.REFUSED), FAILED), Requeue)
    assert (shared.breaker.state, shared.breaker.due_seconds) == (Breaker.OPEN, due)


@pytest.mark.parametrize("remaining", [2, 1_000])
def test_early_refusals_are_held(remaining: int) -> None:
    """Until enough messages, or all of a small campaign, were tried."""
    one = gate(provider(), 1, remaining=remaining)
    refused = Reply(Answer.REFUSED, code="550")
    assert probe(one, refused, FAILED) == Held(3.0)
    second = one.judge(2, refused, FAILED)
    assert second == (FAILED if remaining == 2 else Held(3.0))


def test_a_lost_answer_to_the_probe_lets_nothing_more_through() -> None:
    """A server that is silent after the final dot gets one message, not a window."""
    shared = provider()
    one = gate(shared, 1)
    unknown = Finished(Outcome.UNKNOWN)
    assert probe(one, Reply(Answer.LOST, code="timeout"), unknown) is unknown
    assert shared.breaker.state is Breaker.OPEN
    problem = one.outage.problem()
    assert problem is not None
    assert problem.summary == "the provider takes a message and does not answer"


@pytest.mark.parametrize("days", [30, -30])
def test_a_clock_that_is_set_moves_no_deadline(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """S18: nor does a machine that sleeps for days while its provider can't be reached."""
    monkeypatch.setattr(Time, "seconds", Time.seconds)
    shared = provider()
    one = gate(shared, 1)
    probe(one, REFUSES)
    first = one.outage.problem()
    assert first is not None
    assert first.since_time is not None
    Time.seconds += 600
    assert one.outage.seconds_left == pytest.approx(3_000)
    monkeypatch.setattr(Time, "set_by", timedelta(days=days))
    Time.seconds += 600
    assert one.outage.seconds_left == pytest.approx(2_400)
    later = one.outage.problem()
    assert later is not None
    assert later.since_time == first.since_time + timedelta(days=days)
