"""Commits whose answer is lost while the provider has messages that are tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from integration import sender_support as support
from integration.sender_bench import bench
from integration.test_sender_shards import advance, claim, sent, snapshot, start_of
from sender_service.domain import Guarantee, Outcome
from sender_service.store.batch import Batch
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from sender_service.channels.contract import Handover, Message, Reply


async def test_s10_a_repeated_commit_takes_nothing_that_is_out(tmp_path: Path) -> None:
    """It answers what the first one did, and leaves messages alone that were taken before."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=10)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=3)
        batch = Batch()
        for message in step.messages:
            batch.requeue(message)
        step = await advance(store, claimed, step.position, batch, take=2)
        assert [message.sequence for message in step.messages] == [1, 2]
        for batch, out, taken in (
            (Batch(), {1, 2}, [3, 4, 5]),
            # Those that came back with the commit are out no more.
            (sent(*step.messages), {3}, [6, 7]),
        ):
            take, position = len(taken), step.position
            step = await advance(
                store, claimed, position, batch, take=take, retrying=frozenset(out)
            )
            assert [message.sequence for message in step.messages] == taken
            before = await snapshot(store)
            again = await advance(
                store, claimed, position, batch, take=take, retrying=frozenset(out)
            )
            assert (again.messages, again.position) == (step.messages, step.position)
            assert await snapshot(store) == before


class SlowRetries:
    """A channel that defers the first messages, and has their second tries for long.

    Attributes:
        out: set while it has them.
        over: they are answered once it is set.
        calls: how often it was handed each message.
    """

    def __init__(self, answer: Any, *, deferred: int, retries: int) -> None:
        self.out, self.over = asyncio.Event(), asyncio.Event()
        self.calls: dict[int, int] = {}
        self._answer = answer
        self._deferred, self._retries = deferred, retries
        self._waiting = 0

    async def send(self, template: Any, message: Message, handover: Handover) -> Reply:
        """Answer at once, or when the test says so."""
        self.calls[message.sequence] = self.calls.get(message.sequence, 0) + 1
        if message.sequence <= self._deferred and message.attempt == 1:
            return support.DEFERRED
        if message.attempt > 1:
            self._waiting += 1
            if self._waiting == self._retries:
                self.out.set()
            await self.over.wait()
        reply: Reply = await self._answer(template, message, handover)
        return reply


@pytest.mark.parametrize("guarantee", Guarantee)
async def test_s10_a_lost_answer_of_a_commit_sends_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarantee: Guarantee
) -> None:
    """What the provider has while a commit is repeated is handed over once, and ends SENT."""
    deferred, lost = 2, 0
    async with bench(tmp_path, 30, guarantee) as b:
        channel = SlowRetries(b.channel.send, deferred=deferred, retries=deferred)
        monkeypatch.setattr(b.channel, "send", channel.send)
        write = b.store.write

        async def unheard(work: Any) -> Any:
            nonlocal lost
            result = await write(work)
            if channel.out.is_set() and not channel.over.is_set():
                lost += 1
                if lost == 2:
                    channel.over.set()
                raise StoreUnavailableError("all was written, and nobody heard")
            return result

        run = await b.begin()
        monkeypatch.setattr(b.store, "write", unheard)
        async with asyncio.timeout(60):
            await run.run()
        assert lost == 2
        await b.until_done()
        assert channel.calls == {n: 2 if n <= deferred else 1 for n in range(1, 31)}
        assert b.channel.accepted() == list(range(1, 31))
        assert {outcome[0] for outcome in (await b.outcomes()).values()} == {Outcome.SENT}
