"""Without the status service's word a sender sends for a set time only, and then holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.scrapes import scrape
from integration.sender_faults import FakeStatusService, Faults, beside
from integration.sender_pair import State, problem_text
from sender_service.reporting import stream_watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from closeout.sender.v1 import sender_pb2

_MESSAGES = 60
#: A hold that no test lives to see.
_NEVER_SECONDS = 3_600.0


@pytest.fixture
async def faults(tmp_path: Path) -> AsyncIterator[Faults]:
    """A sender that holds after a second, beside a status service that misbehaves."""
    async with beside(FakeStatusService(), tmp_path, hold_after_seconds=1) as both:
        yield both


async def in_the_hands_of_the_provider(both: Faults) -> int:
    """Begin a campaign, some of whose messages stay with the provider; return how many."""
    await both.hold_calls()
    await both.begin("c1", _MESSAGES)
    await support.eventually(lambda: both.channel.flying == both.channel.concurrency)
    return both.channel.concurrency


async def at_rest(both: Faults) -> sender_pb2.GetDeliveryResponse:
    """Let the provider answer, and wait until nobody works on the campaign."""
    both.channel.hold.set()

    async def look() -> sender_pb2.GetDeliveryResponse | None:
        delivery = await both.sender.get_delivery(campaign_id="c1")
        rests = not (both.channel.flying or delivery.in_doubt or delivery.leased_shards)
        return delivery if rests else None

    delivery: sender_pb2.GetDeliveryResponse = await support.eventually(look)
    return delivery


async def held_campaigns(both: Faults) -> float:
    """Return how many campaigns a scrape shows as held."""
    return (await scrape(both.sender_http)).value("closeout_campaigns_held")


def lines(logged: Sequence[Any], event: str) -> list[Any]:
    """Return the lines of an event."""
    return [line for line in logged if line["event"] == event]


async def test_s17_a_sender_that_hears_nothing_holds_and_goes_on_by_itself(faults: Faults) -> None:
    """Nothing more is handed over, no try is spent, no result made; then all is sent once."""
    handed_over = await in_the_hands_of_the_provider(faults)
    with capture_logs() as logged:
        faults.fake.away = True
        problem = await support.eventually(lambda: faults.problem("c1"))
        assert "after 1 s without an answer nothing more is sent" in problem
        (held,) = await support.eventually(lambda: lines(logged, "sending_held"))
        assert (held["log_level"], held["organisation"]) == ("error", "default")
        assert held["setting"] == "[sender] hold_after_seconds"
        delivery = await at_rest(faults)
        assert (delivery.state, delivery.revision) == (State.STATE_UNSPECIFIED, 0)
        assert "does not answer, so nothing is sent until it does" in problem_text(delivery)
        assert delivery.problems[0].needs_attention
        assert delivery.finished == delivery.unreported == handed_over == len(faults.channel.calls)
        assert await held_campaigns(faults) == 1
        faults.fake.away = False
        delivery = await faults.finished("c1")
    assert [line["was_held"] for line in lines(logged, "status_stream_restored")] == [True]
    assert faults.channel.accepted() == list(range(1, _MESSAGES + 1))
    assert set(faults.fake.stored) == set(range(1, _MESSAGES + 1))
    assert not delivery.problems
    assert await held_campaigns(faults) == 0


async def test_s17_a_connection_that_nobody_answers_on_is_not_reached(faults: Faults) -> None:
    """What counts is what was heard: the stream stands, and a pause would not come over it."""
    handed_over = await in_the_hands_of_the_provider(faults)
    faults.fake.deaf = True
    with capture_logs() as logged:
        await support.eventually(lambda: lines(logged, "sending_held"))
        await at_rest(faults)
        assert len(faults.channel.calls) == handed_over
        faults.fake.states["c1"] = State.PAUSED
        faults.fake.deaf = False

        async def paused() -> bool:
            delivery = await faults.sender.get_delivery(campaign_id="c1")
            return delivery.state == State.PAUSED and not delivery.problems

        await support.eventually(paused)
    assert len(faults.channel.calls) == handed_over


async def test_a_quiet_stream_is_reached(tmp_path: Path) -> None:
    """While a provider is slow nothing is reported, and sending goes on."""
    async with beside(FakeStatusService(), tmp_path, hold_after_seconds=3) as both:
        await in_the_hands_of_the_provider(both)
        begun = len(both.fake.frames)
        with capture_logs() as logged:
            # Four fit into the time after which nothing would be sent.
            await support.eventually(lambda: len(both.fake.frames) >= begun + 5)
            delivery = await both.sender.get_delivery(campaign_id="c1")
            assert (delivery.state, list(delivery.problems)) == (State.SENDING, [])
            assert both.fake.frames[-1][1] == 0
            both.channel.hold.set()
            await both.finished("c1")
        assert not lines(logged, "sending_held")
        assert both.fake.streams == 1


async def test_s17_a_new_stream_has_a_second_to_say_how_campaigns_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause may have been confirmed meanwhile, by a service that was killed in that moment."""
    monkeypatch.setattr(stream_watch, "_ACKNOWLEDGE_SECONDS", 2.0)
    async with beside(FakeStatusService(), tmp_path, hold_after_seconds=_NEVER_SECONDS) as both:
        handed_over = await in_the_hands_of_the_provider(both)
        both.fake.away = True
        await both.begin("c2", 1)  # a stream that says nothing does not end
        await support.eventually(lambda: both.problem("c1"))
        with capture_logs() as logged:
            both.fake.deaf, both.fake.away = True, False
            (line,) = await support.eventually(lambda: lines(logged, "campaign_states_awaited"))
            assert (line["organisation"], line["campaigns"]) == ("default", 1)
            delivery = await at_rest(both)
            assert delivery.state == State.STATE_UNSPECIFIED
            assert len(both.channel.calls) == handed_over
            both.fake.deaf = False
            await both.finished("c1")
            await both.finished("c2")
        assert len(both.channel.calls) == _MESSAGES + 1
        assert not lines(logged, "sending_held")


async def test_s17_a_sender_that_starts_alone_sends_nothing(tmp_path: Path) -> None:
    """However long it would go on: what was true before the start allows nothing now."""
    async with beside(FakeStatusService(), tmp_path, hold_after_seconds="off") as both:
        await in_the_hands_of_the_provider(both)
        both.channel.hold.set()
        both.channel.script = lambda _: support.UNREACHABLE
        await support.eventually(lambda: both.channel.flying == 0)
        await both.stop_sender()
        both.fake.away = True
        both.channel.script = lambda _: support.ACCEPTED
        both.channel.forget()
        await both.start_sender()

        async def holds() -> bool:
            return "so nothing is sent until it does" in await both.problem("c1")

        await support.eventually(holds)
        delivery = await both.sender.get_delivery(campaign_id="c1")
        assert delivery.problems[0].kind == status_pb2.Problem.STATUS_SERVICE_UNREACHABLE
        assert both.channel.calls == []
        assert await held_campaigns(both) == 1
        both.fake.away = False
        await both.finished("c1")
