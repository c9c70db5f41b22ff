"""Clients of the services: reporters that never give up, and callers who interfere."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from closeout.aio import StatusClient
from closeout.errors import (
    CallCancelledError,
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    UnavailableError,
)
from soak.cluster import within
from soak.stream import PATIENCE_SECONDS, Frame, ReportingStream

#: One campaign in so many is large.
_LARGE_EVERY = 25
_SMALL, _LARGE = 300, 20_000
_LARGEST_FRAME = 200
_AWAY = (CallCancelledError, DeadlineExceededError, UnavailableError)


class Load:
    """The load, and what was acknowledged.

    Attributes:
        acknowledged: the best outcome acknowledged of each sequence, by campaign.
        seen: the numbers of results, frames, broken streams and calls.
        violations: answers that contradict a promise.
    """

    def __init__(self, addresses: Sequence[str], seed: int) -> None:
        self.acknowledged: dict[str, bytearray] = {}
        self.seen: Counter[str] = Counter()
        self.violations: list[str] = []
        self._addresses = addresses
        self._seed = seed
        self._open: dict[str, None] = {}

    async def report(self, number: int, stop: asyncio.Event) -> None:
        """Report campaigns, each to its end, until ``stop`` is set."""
        chance = random.Random(f"{self._seed} reporter {number}")  # noqa: S311 - a load
        async with AsyncExitStack() as opened:
            clients = [
                await opened.enter_async_context(
                    StatusClient(address, timeout_seconds=PATIENCE_SECONDS)
                )
                for address in self._addresses
            ]
            count = 0
            while not stop.is_set():
                count += 1
                large = (number + count) % _LARGE_EVERY == 0
                total = _LARGE if large else chance.randint(1, _SMALL)
                await self._campaign(f"{number}-{count}", total, clients, chance)

    async def _campaign(
        self, name: str, total: int, clients: Sequence[StatusClient], chance: random.Random
    ) -> None:
        await _until_done(clients, chance, lambda client: client.create_campaign(campaign_id=name))
        await _until_done(
            clients, chance, lambda client: client.start_campaign(campaign_id=name, total=total)
        )
        self.acknowledged[name] = bytearray(total + 1)
        self._open[name] = None
        left = frames(total, chance)
        replay = left if chance.random() < 0.2 else []
        while left or replay:
            if not left:  # report everything once more: nothing may change
                left, replay = replay, []
            acked = await self._stream(chance.choice(clients), name, left)
            # Unacknowledged frames are repeated, with some acknowledged ones.
            left = left[max(0, acked - chance.randint(0, 3)) if acked < len(left) else acked :]
        del self._open[name]

    async def _stream(self, client: StatusClient, name: str, batch: Sequence[Frame]) -> int:
        """Report frames on a new stream; return how many were acknowledged."""
        stream = ReportingStream(client, name, batch)
        if not await stream.run():
            self.seen["broken streams"] += 1
        self.violations += [f"{name}: {violation}" for violation in stream.violations]
        best = self.acknowledged[name]
        for frame in batch[: stream.acked]:
            self.seen["results"] += len(frame)
            for sequence, outcome in frame:
                best[sequence] = max(best[sequence], outcome)
        self.seen["frames"] += stream.acked
        return stream.acked

    async def interfere(self, number: int, stop: asyncio.Event) -> None:
        """Make the calls of operators, on campaigns that are being reported."""
        chance = random.Random(f"{self._seed} operator {number}")  # noqa: S311 - a load
        async with AsyncExitStack() as opened:
            clients = [
                await opened.enter_async_context(
                    StatusClient(address, timeout_seconds=PATIENCE_SECONDS)
                )
                for address in self._addresses
            ]
            while not await within(chance.uniform(0.0, 0.05), stop):
                if self._open:
                    name = chance.choice(list(self._open))
                    await self._call(chance.choice(clients), name, chance.randrange(4))

    async def _call(self, client: StatusClient, name: str, kind: int) -> None:
        self.seen["calls"] += 1
        try:
            if kind == 0:
                answer = await client.repair_campaigns(
                    campaign_id=name, timeout_seconds=PATIENCE_SECONDS
                )
                if answer.repaired_campaigns:
                    self.violations.append(f"{name}: L1: repaired {answer.diagnoses}")
            else:
                calls = (client.mark_complete, client.pause_campaign, client.resume_campaign)
                await calls[kind - 1](campaign_id=name)
        except FailedPreconditionError:
            self.seen["refused calls"] += 1  # too early, or too late
        except _AWAY:
            self.seen["lost calls"] += 1
        except ClientError as error:
            self.violations.append(f"{name}: {error!r}")


async def _until_done(
    clients: Sequence[StatusClient],
    chance: random.Random,
    call: Callable[[StatusClient], Coroutine[Any, Any, Any]],
) -> None:
    while True:
        try:
            await call(chance.choice(clients))
        except _AWAY:
            continue
        return


def frames(total: int, chance: random.Random) -> list[Frame]:
    """Return frames with a result for each message: in any order, overlapping, repeated."""
    made: list[Frame] = []
    first = 1
    while first <= total:
        size = chance.randint(1, _LARGEST_FRAME)
        reach = range(max(1, first - chance.choice([0, 0, 0, 20])), min(first + size, total + 1))
        made.append([(sequence, chance.randint(1, 4)) for sequence in reach])
        first += size
    made += chance.sample(made, len(made) // 10)
    chance.shuffle(made)
    return made
