"""A run over one shard: every answer of a provider, and every reason to stop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from integration import sender_support as support
from integration.sender_bench import bench
from sender_service.channels.contract import Message, Reply
from sender_service.delivery import shard_delivery
from sender_service.delivery.circuit_breaker import Breaker
from sender_service.delivery.shard_report import Ended
from sender_service.domain import Guarantee, Outcome
from sender_service.store import leases, schema, shards
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def first_then(first: Reply, then: Reply) -> Any:
    """Return a script that answers the first try of a message one way, later tries another."""
    return lambda message: first if message.attempt == 1 else then


async def test_accepted_messages_are_sent_once_each(tmp_path: Path) -> None:
    """Every message reaches the channel once, with its own key, and the shard is released."""
    async with bench(tmp_path, 60) as b:
        report = await b.run_once()
        assert report.ended is Ended.IDLE
        assert report.counts["sent"] == 60
        assert b.channel.accepted() == list(range(1, 61))
        assert len({message.idempotency_key for message in b.channel.calls}) == 60
        assert await b.is_released()
        assert b.channel.most_flying <= b.channel.concurrency


async def test_a_shard_is_finished_when_every_message_has_an_outcome(tmp_path: Path) -> None:
    """And not when a run over it has ended, whatever ended that."""
    async with bench(tmp_path, 2) as b:
        for b.allowed in (False, True):
            run = await b.begin()
            await run.run()
            assert run.is_finished is b.allowed


async def test_a_small_shard_has_no_more_workers_than_messages(tmp_path: Path) -> None:
    """A campaign of two messages does not pay for the thousand tasks of a large one."""
    async with bench(tmp_path, 2) as b:
        b.channel.hold.clear()
        before = len(asyncio.all_tasks())
        run = asyncio.create_task(b.run_once())
        await support.eventually(lambda: len(b.channel.calls) == 2)
        # The run, its two workers, who keeps the lease, and who follows the campaign.
        assert len(asyncio.all_tasks()) - before == 5
        b.channel.hold.set()
        assert (await run).counts["sent"] == 2


async def test_refused_messages_fail_and_stop_nothing(tmp_path: Path) -> None:
    """A permanent refusal is a FAILED result with the provider's code."""
    async with bench(tmp_path, 30) as b:
        b.channel.script = lambda m: support.REFUSED if m.sequence % 3 == 0 else support.ACCEPTED
        await b.run_once()
        outcomes = await b.outcomes()
        assert {n for n, o in outcomes.items() if o[0] == Outcome.FAILED} == set(range(3, 31, 3))
        assert outcomes[3] == (Outcome.FAILED, "550", 1)


async def test_deferred_messages_are_tried_again(tmp_path: Path) -> None:
    """A refusal for now leads to another try with the same key (S12), then to SENT."""
    async with bench(tmp_path, 20) as b:
        b.channel.script = first_then(support.DEFERRED, support.ACCEPTED)
        counts = await b.until_done()
        assert (counts["sent"], counts["deferred"]) == (20, 20)
        keys: dict[int, set[str]] = {}
        for message in b.channel.calls:
            keys.setdefault(message.sequence, set()).add(message.idempotency_key)
        assert all(len(of_one) == 1 for of_one in keys.values())
        assert {o[2] for o in (await b.outcomes()).values()} == {2}
        assert await b.deferrals() == {}


async def test_l3_a_message_that_is_deferred_for_ever_fails(tmp_path: Path) -> None:
    """After max_attempts the last code is the result."""
    async with bench(tmp_path, 5) as b:
        b.channel.script = lambda _: support.DEFERRED
        counts = await b.until_done()
        assert counts["failed"] == 5
        assert set((await b.outcomes()).values()) == {(Outcome.FAILED, "451", 3)}


async def test_s10_a_lost_answer_is_never_sent_again(tmp_path: Path) -> None:
    """At most once: UNKNOWN with a code, and one call."""
    async with bench(tmp_path, 4) as b:
        b.channel.script = lambda _: support.LOST
        assert (await b.until_done())["unknown"] == 4
        assert len(b.channel.calls) == 4
        assert set((await b.outcomes()).values()) == {(Outcome.UNKNOWN, "timeout", 1)}


async def test_s11_a_lost_answer_is_tried_again_with_the_same_key(tmp_path: Path) -> None:
    """At least once: another try, bounded, and UNKNOWN if none is ever answered."""
    async with bench(tmp_path, 2, Guarantee.AT_LEAST_ONCE) as b:
        b.channel.script = lambda m: (
            support.LOST if m.attempt == 1 or m.sequence == 2 else support.ACCEPTED
        )
        counts = await b.until_done()
        assert (counts["sent"], counts["unknown"]) == (1, 1)
        assert (await b.outcomes())[2] == (Outcome.UNKNOWN, "timeout", 3)
        assert len({(m.sequence, m.idempotency_key) for m in b.channel.calls}) == 2


async def test_an_exception_out_of_a_channel_is_in_doubt(tmp_path: Path) -> None:
    """A defect of a channel ends its message as UNKNOWN, is logged, and stops no other."""

    def script(message: Message) -> Reply:
        if message.sequence == 4:
            raise ZeroDivisionError
        return None if message.sequence == 5 else support.ACCEPTED  # type: ignore[return-value]

    async with bench(tmp_path, 12) as b:
        b.channel.script = script
        with capture_logs() as logged:
            report = await b.run_once()
        outcomes = await b.outcomes()
        assert outcomes[4] == outcomes[5] == (Outcome.UNKNOWN, "channel_error", 1)
        assert report.counts["sent"] == 10
        failure = next(line for line in logged if line["event"] == "channel_failed")
        assert failure["sequence"] in {4, 5}
        assert failure["exc_info"]


async def test_a_defect_of_a_channel_does_not_fill_the_log(tmp_path: Path) -> None:
    """However many messages it meets within a second, it is one line."""

    def script(_: Message) -> Reply:
        raise ZeroDivisionError

    async with bench(tmp_path, 12) as b:
        b.channel.script = script
        with capture_logs() as logged:
            await b.run_once()
        assert len(b.channel.calls) > 1
        lines = [line for line in logged if line["event"] == "channel_failed"]
        assert [(line["log_level"], line["unlogged"]) for line in lines] == [("error", 0)]


async def test_a_call_that_cancels_itself_is_in_doubt(tmp_path: Path) -> None:
    """A cancellation that is not ours is an answer that was lost, not the end of the run."""

    def script(message: Message) -> Reply:
        if message.sequence == 2:
            raise asyncio.CancelledError
        return support.ACCEPTED

    async with bench(tmp_path, 6) as b:
        b.channel.script = script
        await b.run_once()
        assert (await b.outcomes())[2] == (Outcome.UNKNOWN, "channel_error", 1)


async def test_an_unreachable_provider_costs_no_try(tmp_path: Path) -> None:
    """All that was taken is handed back, nothing is in doubt, nothing counts as a try."""
    async with bench(tmp_path, 30) as b:
        b.channel.script = lambda _: support.UNREACHABLE
        report = await b.run_once()
        assert report.ended is Ended.HELD
        assert (b.breaker.state, b.breaker.fault) == (Breaker.OPEN, support.UNREACHABLE.fault)
        assert await b.outcomes() == {}
        assert set((await b.deferrals()).values()) == {(0, False)}
        assert await support.in_doubt(b.store, b.campaign) == 0
        assert await b.is_released()
        b.channel.script = lambda _: support.ACCEPTED
        b.half_open()
        assert (await b.until_done())["sent"] == 30


async def test_a_probe_sends_one_message_until_the_provider_answers(tmp_path: Path) -> None:
    """While nobody answers one message is at stake; after the first answer the window is."""
    async with bench(tmp_path, 30) as b:
        b.channel.script = lambda _: support.UNREACHABLE
        await b.run_once()
        b.half_open()
        calls = len(b.channel.calls)
        await b.run_once()
        assert len(b.channel.calls) == calls + 1
        assert b.breaker.state is Breaker.OPEN
        b.half_open()
        b.channel.script = lambda _: support.ACCEPTED
        b.channel.hold.clear()
        running = asyncio.create_task(b.run_once())
        await support.eventually(lambda: b.channel.flying == 1)
        assert await support.in_doubt(b.store, b.campaign) == 1
        b.channel.hold.set()
        await running
        assert b.breaker.state is Breaker.CLOSED
        assert b.gate.outage.problem() is None
        assert b.channel.accepted() == list(range(1, 31))
        assert b.channel.most_flying > 1


async def test_a_stop_lets_calls_end_and_hands_the_rest_back(tmp_path: Path) -> None:
    """Pause: nothing new is launched, what runs is written down, nothing is in doubt."""
    async with bench(tmp_path, 40) as b:
        b.channel.hold.clear()
        run = await b.begin()
        running = asyncio.create_task(run.run())
        await support.eventually(lambda: b.channel.flying == 4)
        b.forbid()
        b.channel.hold.set()
        report = await running
        assert report.ended is Ended.STOPPED
        assert len(b.channel.calls) == 4
        assert set(await b.outcomes()) == {message.sequence for message in b.channel.calls}
        assert await support.in_doubt(b.store, b.campaign) == 0
        b.allowed = True
        await b.until_done()
        assert b.channel.accepted() == list(range(1, 41))


async def test_a_run_whose_lease_is_lost_writes_nothing_more(tmp_path: Path) -> None:
    """S9: after a takeover the old run ends and says so; the new owner's rows stand."""
    async with bench(tmp_path, 20) as b:
        b.channel.hold.clear()
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: b.channel.flying == 4)
        await b.store.write(leases.release_all)
        await b.store.write(
            partial(
                leases.claim,
                campaign=b.campaign,
                owner="two",
                lease_seconds=30,
                guarantee=b.guarantee,
            )
        )
        before = await b.outcomes()
        b.channel.hold.set()
        assert (await running).ended is Ended.LEASE_LOST
        assert await b.outcomes() == before
        assert {outcome[1] for outcome in before.values()} == {"in_doubt"}


async def test_s9_a_run_ends_when_a_heartbeat_finds_its_lease_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has nothing to write: its calls are cancelled, and it hands over no more."""
    monkeypatch.setattr(shard_delivery, "_IDLE_SECONDS", 0.02)
    async with bench(tmp_path, 20) as b:
        b.heartbeat_seconds = 0.02
        b.channel.hold.clear()
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: b.channel.flying == 4)
        await b.store.write(leases.release_all)
        async with asyncio.timeout(60):
            assert (await running).ended is Ended.LEASE_LOST
        assert b.channel.flying == 0
        assert len(b.channel.calls) == 4
        assert await b.outcomes() == {}


async def test_nothing_is_launched_on_a_lease_that_is_too_short(tmp_path: Path) -> None:
    """A call that could outlive the lease is not begun; the messages are handed back."""
    async with bench(tmp_path, 20) as b:
        b.lease_seconds = b.channel.timeout_seconds + 1.0
        run = await b.begin()
        running = asyncio.create_task(run.run())

        async def taken() -> bool:
            (shard,) = await support.rows(b.store, sa.select(schema.shards))
            return bool(shard.intent_through == 8)

        await support.eventually(taken)
        b.forbid()
        await running
        assert b.channel.calls == []
        assert await support.in_doubt(b.store, b.campaign) == 0


async def test_a_lease_is_renewed_while_calls_take_long(tmp_path: Path) -> None:
    """Heartbeats move the end of the lease on, so a slow provider loses no shard."""
    async with bench(tmp_path, 5) as b:
        b.heartbeat_seconds = 0.02
        b.channel.hold.clear()
        running = asyncio.create_task((await b.begin()).run())
        (before,) = await support.rows(b.store, sa.select(schema.shards))

        async def renewed() -> bool:
            (now,) = await support.rows(b.store, sa.select(schema.shards))
            return bool(now.lease_expire_time > before.lease_expire_time)

        await support.eventually(renewed)
        b.channel.hold.set()
        assert (await running).ended is Ended.IDLE


async def test_l6_workers_that_were_refused_for_a_moment_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A "no" that is over before the run looks leaves no worker asleep till the heartbeat."""
    async with bench(tmp_path, 40) as b:
        b.heartbeat_seconds = 3600.0
        run = await b.begin()
        answers = iter([False] * b.channel.concurrency)
        may_dispatch = run._may_dispatch
        monkeypatch.setattr(run, "_may_dispatch", lambda: next(answers, True) and may_dispatch())
        async with asyncio.timeout(60):
            report = await run.run()
        assert report.counts["sent"] == 40


async def test_l3_a_defect_of_the_run_itself_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last message in flight is lost to its worker: nothing else would wake the run."""
    async with bench(tmp_path, 1) as b:
        judge = b.gate.judge

        def broken(*_: Any) -> Any:
            monkeypatch.setattr(b.gate, "judge", judge)
            raise ZeroDivisionError

        monkeypatch.setattr(b.gate, "judge", broken)
        run = await b.begin()
        async with asyncio.timeout(20):
            with pytest.raises(ZeroDivisionError):
                await run.run()
        assert await b.is_released()
        await b.until_done()
        assert await b.outcomes() == {1: (Outcome.UNKNOWN, "in_doubt", 1)}


async def test_the_window_holds_at_every_commit_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With answers of every kind at most a window is in doubt after any commit."""
    doubts: list[int] = []
    advance = shards.advance

    def counted(connection: sa.Connection, *args: Any, **kwargs: Any) -> shards.Advance:
        result = advance(connection, *args, **kwargs)
        waiting = connection.execute(
            sa.select(sa.func.count()).where(schema.deferrals.c.attempting.is_(False))
        ).scalar_one()
        shard = connection.execute(sa.select(schema.shards)).one()
        doubts.append(shard.intent_through - shard.journaled - waiting)
        return result

    monkeypatch.setattr(shards, "advance", counted)
    answers = [support.ACCEPTED, support.REFUSED, support.DEFERRED, support.ACCEPTED]
    async with bench(tmp_path, 80) as b:
        b.channel.script = lambda m: answers[(m.sequence + m.attempt) % 4]
        counts = await b.until_done()
    assert max(doubts) == 8
    assert min(counts["sent"], counts["failed"], counts["deferred"]) > 0


async def test_a_commit_whose_answer_is_lost_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was applied or not, every message is sent once and has one outcome."""
    async with bench(tmp_path, 60) as b:
        write = b.store.write
        calls = 0

        async def unreliable(work: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls % 4 == 2:  # nothing was written
                raise StoreUnavailableError("the test says so")
            result = await write(work)
            if calls % 4 == 0:  # all was written, but nobody heard
                raise StoreUnavailableError("the test says so")
            return result

        b.channel.script = lambda m: (
            support.DEFERRED if m.attempt == 1 and m.sequence % 5 == 0 else support.ACCEPTED
        )
        run = await b.begin()
        monkeypatch.setattr(b.store, "write", unreliable)
        await run.run()
        monkeypatch.undo()
        await b.until_done()
        assert calls > 8
        assert b.channel.accepted() == list(range(1, 61))
        assert {outcome[0] for outcome in (await b.outcomes()).values()} == {Outcome.SENT}
