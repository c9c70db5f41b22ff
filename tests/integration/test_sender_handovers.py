"""Calls that are cancelled before or after their message was handed over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from integration.sender_bench import Bench, bench
from sender_service.channels.contract import Handover, Message, Reply
from sender_service.delivery.shard_report import Ended
from sender_service.domain import Guarantee, Outcome
from sender_service.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Handovers:
    """A channel whose calls wait before they begin, or after, as long as the test says."""

    def __init__(self, b: Bench, *, begun: set[int], answered: Iterable[int] = ()) -> None:
        self.begun, self.answered = begun, answered
        self.waiting: set[int] = set()
        self.hold = asyncio.Event()
        b.channel.send = self.send  # type: ignore[method-assign]

    async def send(self, template: Any, message: Message, handover: Handover) -> Reply:  # noqa: ARG002
        """Begin, wait and answer."""
        if message.sequence in self.begun:
            handover.begin("before the server answered")
        if message.sequence not in self.answered:
            self.waiting.add(message.sequence)
            await self.hold.wait()
        return support.ACCEPTED


@pytest.mark.parametrize("guarantee", Guarantee)
async def test_a_cancelled_run_leaves_nothing_unsaid(tmp_path: Path, guarantee: Guarantee) -> None:
    """S10, S11: what is finished is written down, the lease given up, and no doubt remains.

    A message whose handover has begun ends as one whose answer was lost; one before that
    is requeued, and no try of it counts.
    """
    async with bench(tmp_path, 40, guarantee) as b:
        channel = Handovers(b, begun={1, 2, 3, 4}, answered={1, 2})
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: channel.waiting == {3, 4, 5, 6})
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        outcomes, deferrals = await b.outcomes(), await b.deferrals()
        assert await support.in_doubt(b.store, b.campaign) == 0
        assert await b.is_released()
        assert {deferrals[n] for n in (5, 6, 7, 8)} == {(0, False)}
        if guarantee is Guarantee.AT_MOST_ONCE:
            assert {outcomes[n] for n in (3, 4)} == {(Outcome.UNKNOWN, "in_doubt", 1)}
            (row, _) = await support.rows(
                b.store, sa.select(schema.outcomes).where(schema.outcomes.c.code == "in_doubt")
            )
            assert row.detail == (
                "the sender was stopped after the message's data was sent,"
                " before the server answered"
            )
        else:
            assert set(outcomes) == {1, 2}
            assert {deferrals[n] for n in (3, 4)} == {(1, False)}


@pytest.mark.parametrize("guarantee", Guarantee)
async def test_a_stop_hands_back_calls_that_have_not_begun(
    tmp_path: Path, guarantee: Guarantee
) -> None:
    """S17: they are cancelled at once; the calls that have begun get their time."""
    async with bench(tmp_path, 40, guarantee) as b:
        channel = Handovers(b, begun={3, 4})
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: channel.waiting == {1, 2, 3, 4})
        b.forbid()

        async def handed_back() -> bool:
            return await support.in_doubt(b.store, b.campaign) == 2

        await support.eventually(handed_back)
        assert not running.done()
        channel.hold.set()
        assert (await running).ended is Ended.STOPPED
        assert {n: o[0] for n, o in (await b.outcomes()).items()} == {
            3: Outcome.SENT,
            4: Outcome.SENT,
        }
        assert set((await b.deferrals()).values()) == {(0, False)}


async def test_the_end_of_a_turn_cancels_no_call(tmp_path: Path) -> None:
    """A call that is slow to begin would otherwise never come to its end."""
    async with bench(tmp_path, 40) as b:
        channel = Handovers(b, begun=set())
        run = await b.begin()
        running = asyncio.create_task(run.run())
        await support.eventually(lambda: channel.waiting == {1, 2, 3, 4})
        run._turn_is_over = lambda: True
        b.active.wake()

        async def handed_back() -> bool:
            return await support.in_doubt(b.store, b.campaign) == 4

        await support.eventually(handed_back)
        channel.hold.set()
        assert (await running).ended is Ended.STOPPED
        assert set(await b.outcomes()) == {1, 2, 3, 4}


async def test_a_call_that_begins_while_it_is_cancelled_is_in_doubt(tmp_path: Path) -> None:
    """S10: what the provider may have after all is not sent again."""
    async with bench(tmp_path, 1) as b:
        held = asyncio.Event()

        async def send(template: Any, message: Message, handover: Handover) -> Reply:  # noqa: ARG001
            held.set()
            try:
                await asyncio.Event().wait()
            finally:
                handover.begin("before the server answered")
            raise AssertionError

        b.channel.send = send  # type: ignore[method-assign]
        running = asyncio.create_task((await b.begin()).run())
        await held.wait()
        b.forbid()
        await running
        assert await b.outcomes() == {1: (Outcome.UNKNOWN, "in_doubt", 1)}


async def test_an_exception_before_the_handover_is_another_try(tmp_path: Path) -> None:
    """A defect of a channel puts no message in doubt that nobody has, and comes to an end."""
    async with bench(tmp_path, 1) as b:

        async def send(*_: Any) -> Reply:
            raise ZeroDivisionError

        b.channel.send = send  # type: ignore[method-assign]
        await b.until_done()
        assert await b.outcomes() == {1: (Outcome.FAILED, "channel_error", 3)}


async def test_s17_who_waited_for_a_free_call_looks_again(tmp_path: Path) -> None:
    """A pause that comes while other campaigns have all calls of the channel is obeyed.

    The calls get free in the same moment, before anybody has heard of the pause.
    """
    async with bench(tmp_path, 20) as b:
        for _ in range(b.channel.concurrency):
            await b.limit.acquire()
        running = asyncio.create_task((await b.begin()).run())
        await support.eventually(lambda: len(b.limit._waiters or ()) == b.channel.concurrency)
        b.allowed = False
        for _ in range(b.channel.concurrency):
            b.limit.release()
        await support.eventually(lambda: not b.limit._waiters)
        b.forbid()
        assert (await running).ended is Ended.STOPPED
        assert b.channel.calls == []
        assert await b.outcomes() == {}
        assert await support.in_doubt(b.store, b.campaign) == 0
        # A call that nobody made gives its place back.
        assert not b.limit.locked()
