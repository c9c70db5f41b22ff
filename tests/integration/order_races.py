"""Rounds in which StartCampaign, pause, resume and cancel of one campaign meet.

Both services run in this process; the channel notes when each message is handed over.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from closeout.aio import SenderClient, StatusClient
from closeout.errors import FailedPreconditionError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2 as pb
from integration.sender_support import ACCEPTED, ScriptedChannel, channel_class, eventually
from sender_service import server as sender_server
from sender_service.channels.contract import Handover, Message, Reply, Template
from sender_service.settings import SenderSettings
from sender_service.settings import Settings as SenderServiceSettings
from service_runtime.database import Store
from status_service import server as status_server
from status_service.settings import Settings as StatusServiceSettings
from status_service.settings import StatusSettings

State = pb.Campaign.State
#: Calls of one round begin within this time, seconds.
_MEETING_SECONDS = 0.01
#: A message handed over later than this after a confirmed pause or cancel is one too
#: many, seconds in which this process ran.
OBEDIENCE_SECONDS = 1.0
#: A store write takes up to this much longer in a slow round, seconds.
_DELAY_SECONDS = 0.5
#: Messages of a campaign, and how long its provider takes for one, seconds: a campaign
#: that goes on sending does so for the whole round.
_MESSAGES, _SEND_SECONDS = 120, 0.2
_ROUNDS_AT_ONCE = 20
#: The loop is asked so often whether it runs, seconds.
_BEAT_SECONDS = 0.02


class _NotingChannel(ScriptedChannel):
    """Accepts every message and notes when it was handed over."""

    window: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self.concurrency = 2 * _ROUNDS_AT_ONCE
        self.handed_over: dict[str, list[float]] = defaultdict(list)

    async def send(self, template: Template, message: Message, handover: Handover) -> Reply:  # noqa: ARG002
        """Accept the message after a while."""
        handover.begin("after it was handed over")
        self.handed_over[message.campaign_id].append(_clock())
        await asyncio.sleep(_SEND_SECONDS)
        return ACCEPTED


class _SlowStore(Store):
    """A store whose writes take longer while ``delay_seconds`` is not 0."""

    delay_seconds: ClassVar[float] = 0.0

    async def write(self, work: Callable[..., Any]) -> Any:
        """Wait for a random part of the delay, then write."""
        if self.delay_seconds:
            await asyncio.sleep(random.uniform(0, self.delay_seconds))  # noqa: S311 - a race
        return await super().write(work)


@dataclass
class _Stalls:
    """How long the loop of this process stood still, and when."""

    stalls: list[tuple[float, float]] = field(default_factory=list)

    async def watch(self) -> None:
        """Note stalls until cancelled."""
        while True:
            before = _clock()
            await asyncio.sleep(_BEAT_SECONDS)
            late = _clock() - before - _BEAT_SECONDS
            if late > _BEAT_SECONDS:
                self.stalls.append((before, late))

    def since(self, begin: float, end: float) -> float:
        """Return how many seconds the loop stood still between two moments."""
        return sum(late for moment, late in self.stalls if begin - late <= moment <= end)


@dataclass
class Races:
    """Both services, and what the rounds found wrong.

    Attributes:
        sender: its client.
        status: a client of each instance of the status service.
        violations: what must not be, in words; empty if all is well.
        seen: how many campaigns ended their round in each state.
    """

    sender: SenderClient
    status: list[StatusClient]
    channel: _NotingChannel
    stalls: _Stalls
    chance: random.Random
    violations: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def run(self, rounds: int) -> None:
        """Run so many rounds, a number of them at once, every second such number slow."""
        for first in range(0, rounds, _ROUNDS_AT_ONCE):
            _SlowStore.delay_seconds = 0.0
            names = [f"race-{number}" for number in range(first, first + _ROUNDS_AT_ONCE)]
            for name in names:
                await self._prepare(name)
            _SlowStore.delay_seconds = _DELAY_SECONDS if (first // _ROUNDS_AT_ONCE) % 2 else 0.0
            async with asyncio.TaskGroup() as tasks:
                for name in names:
                    tasks.create_task(self._round(name))

    async def _prepare(self, name: str) -> None:
        await self.sender.create_campaign(
            campaign_id=name,
            channel="scripted",
            body=sender_pb2.EmailContent(subject="Hello"),
            options=sender_pb2.DeliveryOptions(max_in_flight=2),
        )
        addresses = [f"p{number}@example.com" for number in range(_MESSAGES)]
        await self.sender.upload_recipients(
            campaign_id=name,
            upload_id="u",
            batches=[[sender_pb2.Recipient(address=address) for address in addresses]],
        )

    async def _round(self, name: str) -> None:
        watched: list[list[pb.Campaign]] = [[] for _ in self.status]
        async with AsyncExitStack() as stack:
            if self.chance.random() < 0.5:
                await self.sender.start_campaign(campaign_id=name)
                await eventually(lambda: self.channel.handed_over[name])
            for client, seen in zip(self.status, watched, strict=True):
                await stack.enter_async_context(_watching(client, name, seen))
            confirmed = await self._meet(name)
            await self._judge(name, confirmed, watched)
        with suppress(FailedPreconditionError):  # it was sent whole meanwhile
            await self.status[0].cancel_campaign(campaign_id=name)

    async def _meet(self, name: str) -> list[tuple[float, pb.Campaign]]:
        """Make the calls of a round; return when each change was confirmed, and the campaign."""

        def status() -> StatusClient:
            return self.chance.choice(self.status)

        async def start() -> None:
            await self.sender.start_campaign(campaign_id=name)

        calls: list[Callable[[], Awaitable[Any]]] = [start, start]
        calls += [lambda: status().pause_campaign(campaign_id=name)] * self.chance.randint(1, 2)
        calls += [lambda: status().resume_campaign(campaign_id=name)] * self.chance.randint(0, 2)
        calls += [lambda: status().cancel_campaign(campaign_id=name)] * (self.chance.random() < 0.3)
        confirmed: list[tuple[float, pb.Campaign]] = []

        async def at_its_time(call: Callable[[], Awaitable[Any]], seconds: float) -> None:
            await asyncio.sleep(seconds)
            try:
                answer = await call()
            except FailedPreconditionError:
                return  # its state does not allow it
            if answer is not None and answer.transitioned:
                confirmed.append((_clock(), answer.campaign))

        async with asyncio.TaskGroup() as tasks:
            for call in calls:
                seconds = self.chance.uniform(0, _MEETING_SECONDS)
                tasks.create_task(at_its_time(call, seconds))
        return confirmed

    async def _judge(
        self,
        name: str,
        confirmed: list[tuple[float, pb.Campaign]],
        watched: list[list[pb.Campaign]],
    ) -> None:
        truth = (await self.status[-1].get_campaign(campaign_id=name)).state
        self.seen[State.Name(truth)] += 1
        if truth in {State.PAUSED, State.CANCELLED}:
            confirm_time, last = max(confirmed, key=lambda entry: entry[1].revision)
            assert last.state == truth
            await asyncio.sleep(max(confirm_time + 2 * OBEDIENCE_SECONDS - _clock(), 0))
            for moment in self.channel.handed_over[name]:
                ran = moment - confirm_time - self.stalls.since(confirm_time, moment)
                if ran > OBEDIENCE_SECONDS:
                    self._wrong(name, truth, f"a message was handed over after {ran:.2f} s")
        else:
            before = len(self.channel.handed_over[name])
            await self._agrees(
                name, truth, "goes on", lambda: len(self.channel.handed_over[name]) > before
            )

        async def believed() -> bool:
            delivery = await self.sender.get_delivery(campaign_id=name)
            # A cancelled campaign may have ended here: the sender acts on nothing then.
            ended = delivery.phase == sender_pb2.GetDeliveryResponse.FINISHED
            return delivery.state == truth or (ended and truth == State.CANCELLED)

        await self._agrees(name, truth, "is known to the sender", believed)
        for seen in watched:
            await self._agrees(name, truth, "is seen", lambda seen=seen: seen[-1].state == truth)
            revisions = [campaign.revision for campaign in seen]
            if revisions != sorted(revisions):
                self._wrong(name, truth, f"a watcher saw the revisions {revisions}")

    async def _agrees(
        self, name: str, truth: State.ValueType, what: str, check: Callable[[], Any]
    ) -> None:
        try:
            await eventually(check, seconds=20)
        except AssertionError:
            self._wrong(name, truth, f"not so: it {what}")

    def _wrong(self, name: str, truth: State.ValueType, what: str) -> None:
        self.violations.append(f"{name} is {State.Name(truth)}: {what}")


@asynccontextmanager
async def _watching(
    client: StatusClient, name: str, seen: list[pb.Campaign]
) -> AsyncIterator[None]:
    """Append what a watcher sees of a campaign for the length of a block."""

    async def watch() -> None:
        nonlocal seen
        async with aclosing(client.watch_campaign(campaign_id=name)) as campaigns:
            async for campaign in campaigns:
                seen += [campaign]  # while it comes, not once it has ended

    task = asyncio.create_task(watch())
    try:
        await eventually(lambda: seen)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def racing(
    folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, *, instances: int, seed: int
) -> AsyncIterator[Races]:
    """Run so many instances of the status service on a database, and a sender, for a block."""
    monkeypatch.setattr(sender_server, "Store", _SlowStore)
    monkeypatch.setattr(_SlowStore, "delay_seconds", 0.0)
    channel, stalls = _NotingChannel(), _Stalls()
    async with AsyncExitStack() as stack:
        addresses = []
        for _ in range(instances):
            settings = StatusSettings(
                http_listen="127.0.0.1:0",
                listen="127.0.0.1:0",
                database_url=database_url,
                grace_seconds=0,
            )
            running = status_server.running(StatusServiceSettings(status=settings))
            addresses.append((await stack.enter_async_context(running)).address)
        own = SenderSettings(
            http_listen="127.0.0.1:0",
            listen="127.0.0.1:0",
            database_url=f"sqlite:///{folder}/sender.db",
            status_address=",".join(addresses),
            concurrent_campaigns=2 * _ROUNDS_AT_ONCE,
            shard_size=50,
            grace_seconds=0,
        )
        sender = await stack.enter_async_context(
            sender_server.running(
                SenderServiceSettings(sender=own), channels={"scripted": channel_class(channel)}
            )
        )
        watch = asyncio.create_task(stalls.watch())
        stack.callback(watch.cancel)
        yield Races(
            sender=await stack.enter_async_context(SenderClient(sender.address)),
            status=[
                await stack.enter_async_context(StatusClient(address)) for address in addresses
            ],
            channel=channel,
            stalls=stalls,
            chance=random.Random(seed),  # noqa: S311 - a race
        )


def _clock() -> float:
    return asyncio.get_running_loop().time()
