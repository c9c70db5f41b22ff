"""What the workers of a run over a shard do when they get a place among the calls of a channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from sender_service.delivery.plan import DeliveryPlan
from sender_service.delivery.shard_workers import ShardWorkers
from sender_service.delivery.tally import Tally
from sender_service.domain import Guarantee, MessageKeys, Outcome, Policy, RetryPolicy
from sender_service.store.batch import PendingMessage
from sender_service.verdicts import Answer, Effect, Finished, Reply

_PATIENCE_SECONDS = 20.0
_WORKERS, _WINDOW = 2, 16


class Run:
    """Two workers whose channel, gate and commits the test plays; others have its two places."""

    def __init__(self, *, is_closed: bool) -> None:
        self.allowed = True
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self.ended: list[tuple[int, Any]] = []
        self.limit = asyncio.Semaphore(0)
        self.concurrency = _WORKERS
        self.waiting = self.in_doubt = 0
        self.shared = SimpleNamespace(tally=Tally())
        self.is_closed = is_closed
        played: Any = self
        plan = DeliveryPlan(
            campaign_id="c1",
            channel=played,
            limit=self.limit,
            defects=played,
            template=None,
            keys=MessageKeys(organisation="default", campaign_id="c1", content_digest="d"),
            policy=Policy(Guarantee.AT_MOST_ONCE, RetryPolicy(60.0)),
            window=_WINDOW,
            lease_seconds=60.0,
            heartbeat_seconds=20.0,
        )
        self.workers = ShardWorkers(
            plan,
            played,
            played,
            may_dispatch=lambda: self.allowed,
            progress=asyncio.Event(),
        )

    async def send(self, _: Any, message: Any, handover: Any) -> Reply:
        """Take a message as the channel does, and answer when it may."""
        handover.begin("after it was handed over")
        self.begun.put_nowait(message.sequence)
        await self.may_answer.wait()
        return Reply(Answer.ACCEPTED)

    def dispatching(self, _: Any) -> None:
        """Watch no probe."""

    def judge(self, _: int, __: Reply, effect: Effect, ___: int) -> Effect:
        """Let an answer mean what it says."""
        return effect

    def finish(self, message: PendingMessage, effect: Any, _: int) -> None:
        """Note what became of a message."""
        self.ended.append((message.sequence, effect))

    def add(self, *sequences: int) -> None:
        """Give the workers messages."""
        self.workers.add(PendingMessage(number, f"p{number}@x", "", "{}") for number in sequences)

    async def next_begun(self) -> int:
        """Wait until the channel gets a message; return its number."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self.begun.get()


@asynccontextmanager
async def working(*, is_closed: bool = True) -> AsyncIterator[Run]:
    run = Run(is_closed=is_closed)
    tasks = run.workers.tasks(10)
    assert len(tasks) == _WORKERS
    try:
        yield run
        assert not [task for task in tasks if task.done()], "a worker works until it is cancelled"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _settled() -> None:
    """Let all others run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_s17_a_worker_that_got_its_place_in_a_pause_works_on_after_it() -> None:
    """It hands nothing over, gives the place back, and is there when messages may go out again."""
    async with working() as run:
        run.add(1, 2)
        await _settled()
        run.allowed = False
        run.limit.release()
        await _settled()
        assert run.begun.empty()
        assert not run.limit.locked()
        run.allowed = True
        run.limit.release()
        run.workers.wake()
        assert sorted([await run.next_begun(), await run.next_begun()]) == [1, 2]
        run.may_answer.set()
        await _settled()
        assert sorted(run.ended) == [(1, Finished(Outcome.SENT)), (2, Finished(Outcome.SENT))]


async def test_a_worker_whose_message_another_one_took_meanwhile_takes_the_next() -> None:
    """Messages that come later still go out as many at a time as there are workers."""
    async with working() as run:
        run.add(1)
        await _settled()
        run.limit.release()
        assert await run.next_begun() == 1
        run.limit.release()
        await _settled()
        assert run.begun.empty()
        run.add(2)
        assert await run.next_begun() == 2
        assert not run.ended


async def test_more_than_one_message_is_in_doubt_only_once_the_provider_takes_them() -> None:
    """An answer that leaves the circuit breaker half open does not widen the window."""
    async with working(is_closed=False) as run:
        run.limit.release()
        run.may_answer.set()
        for number, (closes, window) in enumerate([(False, 1), (True, _WINDOW), (True, _WINDOW)]):
            assert not run.ended[number:]
            run.is_closed = closes
            run.add(number)
            await _settled()
            assert len(run.ended) == number + 1
            assert run.workers.window == window
