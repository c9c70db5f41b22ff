"""What survives the stop of either service, and of the stream between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.sender_faults import FakeStatusService, Faults, beside
from integration.sender_pair import Pair, State, pair, problem_text
from sender_service.domain import Guarantee, Outcome
from sender_service.migrations import MIGRATIONS
from sender_service.reporting import stream_watch
from sender_service.store import schema
from service_runtime.database import Store
from service_runtime.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


async def stop_in_the_middle(both: Pair, *, after: int) -> int:
    """Stop the sender with calls in flight; return how many stay in doubt."""
    accepted = 0

    def script(_: Any) -> Any:
        nonlocal accepted
        accepted += 1
        if accepted == after:
            both.channel.hold.clear()
        return support.ACCEPTED

    both.channel.script = script
    await both.begin("c1", 200)
    await support.eventually(
        lambda: accepted >= after and both.channel.flying == both.channel.concurrency
    )
    in_flight = both.channel.flying
    await both.stop_sender()
    both.channel.hold.set()
    both.channel.script = lambda _: support.ACCEPTED
    return in_flight


@pytest.mark.parametrize("guarantee", Guarantee)
async def test_a_restarted_sender_goes_on(tmp_path: Path, guarantee: Guarantee) -> None:
    """S10, S11: what was in flight is UNKNOWN or sent again, all else is sent once."""
    async with pair(tmp_path, grace_seconds=0) as both:
        both.options = sender_pb2.DeliveryOptions(
            guarantee=sender_pb2.DeliveryOptions.Guarantee.Value(guarantee.name)
        )
        in_flight = await stop_in_the_middle(both, after=70)
        await both.start_sender()
        campaign = await both.ended("c1")
        assert campaign.state == State.COMPLETED
        tries: dict[int, list[str]] = {}
        for message in both.channel.calls:
            tries.setdefault(message.sequence, []).append(message.idempotency_key)
        twice = {sequence for sequence, keys in tries.items() if len(keys) > 1}
        results = await both.results("c1")
        if guarantee is Guarantee.AT_MOST_ONCE:
            assert not twice
            assert 0 < campaign.unknown <= in_flight
            unknown = {n for n, r in results.items() if r.outcome == status_pb2.Result.UNKNOWN}
            assert all(results[n].code == "in_doubt" for n in unknown)
        else:
            assert 0 < len(twice) <= in_flight
            assert campaign.sent == 200
            assert all(len(set(keys)) == 1 for keys in tries.values())
        assert set(tries) == set(range(1, 201))
        await both.finished("c1")


async def test_a_sender_stopped_in_order_leaves_no_doubt(tmp_path: Path) -> None:
    """With enough grace every call in flight is written down, and nothing is sent twice."""
    async with pair(tmp_path, grace_seconds=20) as both:
        await both.hold_calls()
        await both.begin("c1", 100)
        await support.eventually(lambda: both.channel.flying == 4)
        stopping = asyncio.create_task(both.stop_sender())
        both.channel.hold.set()
        await stopping
        await both.start_sender()
        campaign = await both.ended("c1")
        assert (campaign.sent, campaign.unknown) == (100, 0)
        assert both.channel.accepted() == list(range(1, 101))


async def test_a_stop_writes_down_what_a_silent_provider_has(tmp_path: Path) -> None:
    """S10: each call ends in doubt when its time is over, and none is left to the next start."""
    async with pair(tmp_path, grace_seconds=0.1) as both:
        await both.hold_calls()
        await both.begin("c1", 3)
        await support.eventually(lambda: both.channel.flying == 3)
        with capture_logs() as lines:
            await both.stop_sender()
        assert "shutdown_grace_exceeded" in [line["event"] for line in lines]
        async with support.open_store(tmp_path) as store:
            outcomes = await support.outcomes_of(store, 2)
            assert {outcome[:2] for outcome in outcomes.values()} == {(Outcome.UNKNOWN, "in_doubt")}
            assert len(outcomes) == 3
        await both.start_sender()
        both.channel.hold.set()
        delivery = await both.finished("c1")
        assert delivery.finished == 3


async def test_after_a_restart_nothing_is_sent_before_the_state_is_known(tmp_path: Path) -> None:
    """A campaign cancelled while the sender was away is not sent further."""
    async with pair(tmp_path, grace_seconds=20) as both:
        await both.hold_calls()
        await both.begin("c1", 100)
        await support.eventually(lambda: both.channel.flying == 4)
        stopping = asyncio.create_task(both.stop_sender())
        both.channel.hold.set()
        await stopping
        calls = len(both.channel.calls)
        await both.status.cancel_campaign(campaign_id="c1")
        await both.stop_status()
        await both.start_sender()
        problem = await support.eventually(lambda: both.problem("c1"))
        assert "so nothing is sent until it does" in problem
        await both.start_status()
        campaign = await both.ended("c1")
        assert len(both.channel.calls) == calls
        assert (campaign.state, campaign.skipped) == (State.CANCELLED, 100 - calls)


async def test_l4_results_are_kept_while_the_status_service_is_away(tmp_path: Path) -> None:
    """Sending goes on, the journal waits, and everything is counted once afterwards."""
    async with pair(tmp_path) as both:
        await both.hold_calls()
        await both.begin("c1", 120)
        await support.eventually(lambda: both.channel.flying == 4)
        await both.stop_status()
        with capture_logs() as logged:
            both.channel.hold.set()
            await support.eventually(lambda: len(both.channel.accepted()) == 120)

            async def all_waits() -> bool:
                delivery = await both.sender.get_delivery(campaign_id="c1")
                return delivery.unreported == 120 and "does not answer" in problem_text(delivery)

            await support.eventually(all_waits)
            await both.start_status()
            campaign = await both.ended("c1")
        assert (campaign.state, campaign.sent) == (State.COMPLETED, 120)
        lost = [line for line in logged if line["event"] == "status_stream_disconnected"]
        regained = [line for line in logged if line["event"] == "status_stream_restored"]
        assert len(lost) <= 1
        assert len(regained) == 1
        assert problem_text(await both.finished("c1")) == ""


async def test_a_restart_of_both_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """What was acknowledged is not needed again, what was not is reported again."""
    async with pair(tmp_path, grace_seconds=20) as both:
        await both.hold_calls()
        await both.begin("c1", 100)
        await support.eventually(lambda: both.channel.flying == 4)
        await both.stop_status()
        stopping = asyncio.create_task(both.stop_sender())
        both.channel.hold.set()
        await stopping
        await both.start_status()
        await both.start_sender()
        assert (await both.ended("c1")).sent == 100
        assert both.channel.accepted() == list(range(1, 101))


async def test_a_channel_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    """A campaign whose channel is not installed any more waits, and can still be cancelled."""
    async with pair(tmp_path, grace_seconds=20) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        await both.begin("c1", 20)
        await support.eventually(lambda: both.problem("c1"))
        await both.stop_sender()
        await both.start_sender(with_channel=False)

        async def said() -> bool:
            return "there is no channel 'scripted'" in await both.problem("c1")

        await support.eventually(said)
        await both.status.cancel_campaign(campaign_id="c1")
        assert (await both.ended("c1")).skipped == 20


async def test_a_second_sender_on_the_same_database_is_refused(tmp_path: Path) -> None:
    """It says who has the database, and disturbs nothing."""
    async with pair(tmp_path) as both:
        other = Pair(tmp_path)
        other.status_address = both.status_address
        with pytest.raises(StartupError, match="in use by the sender service"):
            await other.start_sender()
        await both.begin("c1", 3)
        assert (await both.ended("c1")).sent == 3


@pytest.fixture
async def faults(tmp_path: Path) -> AsyncIterator[Faults]:
    """A sender beside a status service that misbehaves, already running."""
    async with beside(FakeStatusService(), tmp_path) as both:
        yield both


def taken_for_lost(logged: Sequence[Any]) -> list[Any]:
    """Return the lines by which the sender mends what it should not have taken as reported."""
    return [line for line in logged if line["event"] == "status_store_lost_results"]


async def test_a_broken_stream_is_replayed(faults: Faults) -> None:
    """What was not acknowledged is sent again on the next stream; nothing is left out."""
    faults.fake.break_after = 1
    with capture_logs() as logged:
        await faults.begin("c1", 120)
        await support.eventually(lambda: faults.fake.streams >= 3)
        assert faults.fake.stored == {}
        faults.fake.break_after = None
        delivery = await faults.finished("c1")
    assert not taken_for_lost(logged)
    assert delivery.unreported == 0
    assert set(faults.fake.stored) == set(range(1, 121))


async def test_s7_what_was_not_acknowledged_is_reported_after_a_restart(faults: Faults) -> None:
    """What was only written to a stream is not reported yet, for the next process too."""
    faults.fake.silent = True
    await faults.begin("c1", 120)
    await support.eventually(lambda: sum(results for _, results in faults.fake.frames) >= 20)
    await faults.stop_sender()
    faults.fake.silent = False
    with capture_logs() as logged:
        await faults.start_sender()
        assert (await faults.finished("c1")).unreported == 0
    assert not taken_for_lost(logged)
    assert set(faults.fake.stored) == set(range(1, 121))


async def test_rejected_results_are_kept_and_shown(faults: Faults) -> None:
    """A refusal is logged as an error, shown to the operator, retried, and cleared."""
    faults.fake.reject = {"c1"}
    with capture_logs() as logged:
        await faults.begin("c1", 30)
        problem = await support.eventually(lambda: faults.problem("c1"))
    assert "CAMPAIGN_NOT_SEALED, says the test" in problem
    refused = [line for line in logged if line["event"] == "results_rejected"]
    assert [line["reason"] for line in refused] == ["CAMPAIGN_NOT_SEALED"]
    await faults.begin("c2", 10)
    await faults.finished("c2")
    faults.fake.reject = set()
    assert problem_text(await faults.finished("c1")) == ""
    assert set(faults.fake.stored) == set(range(1, 31))


async def test_a_silent_stream_is_given_up(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that are never acknowledged do not stop the reports for ever."""
    monkeypatch.setattr(stream_watch, "_ACKNOWLEDGE_SECONDS", 0.2)
    monkeypatch.setattr(stream_watch, "_WATCH_SECONDS", 0.05)
    faults.fake.silent = True
    await faults.begin("c1", 30)
    await support.eventually(lambda: faults.fake.streams >= 2)
    faults.fake.silent = False
    await faults.finished("c1")
    assert set(faults.fake.stored) == set(range(1, 31))


async def test_a_replaced_store_gets_everything_again(faults: Faults) -> None:
    """Another generation on a later stream: the journal of open campaigns is replayed."""
    faults.channel.script = lambda m: support.ACCEPTED if m.sequence <= 20 else support.UNREACHABLE
    await faults.begin("c1", 40)
    await support.eventually(lambda: set(faults.fake.stored) >= set(range(1, 21)))

    async def all_reported() -> bool:
        delivery = await faults.sender.get_delivery(campaign_id="c1")
        return delivery.unreported == 0

    await support.eventually(all_reported)
    faults.fake.stored.clear()
    faults.fake.generation = "g2"
    await faults.begin("c2", 1)  # its answer tells the generation
    await support.eventually(lambda: set(range(1, 21)) <= set(faults.fake.stored))
    faults.channel.script = lambda _: support.ACCEPTED
    await faults.finished("c1")
    assert set(faults.fake.stored) == set(range(1, 41))


async def test_reported_is_stored_as_it_was_acknowledged(tmp_path: Path) -> None:
    """S7: what the sender calls reported is in the database of the status service."""
    async with pair(tmp_path) as both:
        await both.begin("c1", 75)
        await both.finished("c1")
        await both.stop_sender()
        store = Store(f"sqlite:///{tmp_path}/sender.db", MIGRATIONS, holder="test")
        try:
            shards = await support.rows(store, sa.select(schema.shards))
        finally:
            store.close()
        assert [shard.reported for shard in shards] == [50, 25]
        assert len(await both.results("c1")) == 75
