"""Events while their receiver and their publisher fail in every way, as processes."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from acceptance.processes import Service
from closeout.aio import EventClient, StatusClient
from closeout.errors import ClientError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database, PostgresqlDatabase
from integration.status_support import SqliteDatabase, eventually
from providers.event_receiver import Receiver
from providers.held_port import HeldPort
from providers.postgresql_server import PostgresqlServer
from soak.cluster import within
from soak.run import Report
from status_service.events import signature
from status_service.events.kinds import TRANSITIONS
from status_service.recording.duty import LEASE

#: Events of each campaign: draft, sending, paused, sending, completed.
EVENTS_EACH = 5
#: Campaigns at work at once.
_AT_ONCE = 8
_FAILURES = ("500", "429", "redirect", "hang", "garbage")
#: Longer than a publisher waits for an answer, seconds.
_HANG = 11.0
#: How long a receiver is there and is not, seconds, from and to.
_UP = (5.0, 25.0)
_DOWN = (0.1, 0.6)
#: Nothing takes longer, seconds.
_PATIENCE = 2_700.0


@dataclass
class _World:
    database: Database
    services: list[Service]
    receiver: Receiver
    chance: random.Random
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    port: int = 0
    refusals: int = 2
    calm: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        """Of all services."""
        return ",".join(service.address for service in self.services)

    def behave(self, _: int, event: dict[str, Any]) -> web.Response | float:
        """Refuse some events, and none of them too often."""
        if self.refused[event["id"]] >= self.refusals or self.chance.random() > 0.25:
            return web.Response(status=204)
        self.refused[event["id"]] += 1
        kind = self.chance.choices(_FAILURES, (5, 3, 5, 1, 3))[0]
        self.faults[f"receiver: {kind}"] += 1
        match kind:
            case "hang":
                return _HANG
            case "redirect":
                moved = self.receiver.url.replace("/events", "/moved")
                return web.Response(status=307, headers={"location": moved})
            case "garbage":
                return web.Response(status=503, body=b"\0\xff\x1b[31m" * 100_000)
            case _:
                return web.Response(status=int(kind), headers={"retry-after": "1"})


async def events_under_faults(
    folder: Path,
    *,
    campaigns: int,
    kills: int,
    seed: int,
    replicas: int = 1,
    freezes: int = 0,
    refusals: int = 2,
) -> Report:
    """Send the events of campaigns while everything that has to do with them fails.

    Args:
        folder: for files.
        campaigns: how many; each has EVENTS_EACH events.
        kills: how often a service is killed by SIGKILL.
        seed: of the faults; their timing depends on the machine.
        replicas: 1 on SQLite; more share a PostgreSQL.
        freezes: how often one is frozen for longer than its lease.
        refusals: how often the receiver refuses an event, at most.
    """
    async with _world(folder, replicas, seed) as world:
        async with EventClient(world.address) as events:
            made = await events.create_subscription(url=world.receiver.url, kinds=TRANSITIONS)
        world.refusals = refusals
        world.receiver.behaviour = world.behave
        async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
            turn = asyncio.Semaphore(_AT_ONCE)
            async with StatusClient(world.address) as client:
                driving = [
                    group.create_task(_drive(client, f"c{number}", turn))
                    for number in range(campaigns)
                ]
                await _inject(world, kills, freezes, campaigns * EVENTS_EACH)
                await asyncio.gather(*driving)
            world.calm.set()
            await _settled(world)
        wrong = _violations(world, made.secret, campaigns * EVENTS_EACH, strict=replicas == 1)
        for service in world.services:
            code = await asyncio.to_thread(service.terminate)
            if code or service.events("event_publishing_failed"):
                wrong["processes"].append(f"{service.folder.name}: {code}, or a defect")
    done = {
        "events": campaigns * EVENTS_EACH,
        "deliveries": len(world.receiver.deliveries),
        **dict(sorted(world.faults.items())),
    }
    return Report(done, wrong)


@asynccontextmanager
async def _world(folder: Path, replicas: int, seed: int) -> AsyncIterator[_World]:
    chance = random.Random(f"{seed} events")  # noqa: S311 - a load
    receiver = Receiver()
    with HeldPort() as held, _database(folder, replicas) as database, ExitStack() as stack:
        services = [
            stack.enter_context(_service(stack, folder / str(number), database.url))
            for number in range(replicas)
        ]
        for service in services:
            await asyncio.to_thread(service.start)
        world = _World(database, services, receiver, chance, port=held.port)
        listening = asyncio.create_task(_receive(world))
        try:
            await eventually(lambda: _listens(receiver, held.port), what="the receiver listens")
            yield world
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listens(receiver: Receiver, port: int) -> bool:
    return receiver.url.endswith(f":{port}/events")


async def _receive(world: _World) -> None:
    """Receive, with a restart now and then."""
    while True:
        async with world.receiver.listening(world.port):
            if await within(world.chance.uniform(*_UP), world.calm):
                await asyncio.Event().wait()  # until it is cancelled
        world.faults["receiver: restart"] += 1
        await asyncio.sleep(world.chance.uniform(*_DOWN))


@contextmanager
def _database(folder: Path, replicas: int) -> Iterator[Database]:
    if replicas == 1:
        yield SqliteDatabase(folder / "status.db")
        return
    with PostgresqlServer() as server:
        yield PostgresqlDatabase(server.create_database())


def _service(stack: ExitStack, folder: Path, url: str) -> Service:
    settings = {
        "CLOSEOUT_STATUS_LISTEN": stack.enter_context(HeldPort()).address,
        "CLOSEOUT_STATUS_DATABASE_URL": url,
        "CLOSEOUT_STATUS_WEBHOOKS_ALLOW_PRIVATE": "true",
    }
    return Service("status_service", "status service listening on ", folder, settings)


async def _drive(client: StatusClient, campaign_id: str, turn: asyncio.Semaphore) -> None:
    """Lead a campaign through its life; a call that fails is made again."""
    result = pb.CampaignResults(
        campaign_id=campaign_id, results=[pb.Result(sequence=1, outcome=pb.Result.SENT)]
    )
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.create_campaign(campaign_id=campaign_id),
        lambda: client.start_campaign(campaign_id=campaign_id, total=1),
        lambda: client.pause_campaign(campaign_id=campaign_id),
        lambda: client.resume_campaign(campaign_id=campaign_id),
        lambda: client.batch_report_results(campaigns=[result], reporter="soak"),
    ]
    async with turn:
        for call in calls:
            while True:
                try:
                    await call()
                    break
                except ClientError:
                    await asyncio.sleep(0.2)


async def _inject(world: _World, kills: int, freezes: int, events: int) -> None:
    """Kill and freeze the services, spread over the deliveries."""
    faults = ["kill"] * kills + ["freeze"] * freezes
    world.chance.shuffle(faults)
    for number, fault in enumerate(faults, start=1):
        await _progress(world, number * events // (len(faults) + 1))
        service = world.chance.choice(world.services)
        world.faults[f"service: {fault}"] += 1
        if fault == "kill":
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)
        else:
            service.signal(signal.SIGSTOP)
            await asyncio.sleep(LEASE.total_seconds() + 2)
            service.signal(signal.SIGCONT)


async def _progress(world: _World, accepted: int) -> None:
    """Wait until so many events were accepted, or for a moment if some wait for their turn."""
    deadline = time.monotonic() + world.chance.uniform(1, 4)
    while time.monotonic() < deadline:
        if sum(one.accepted for one in world.receiver.deliveries) >= accepted:
            return
        await asyncio.sleep(0.02)


async def _settled(world: _World) -> None:
    """Wait until nothing is to be published or to be tried any more."""
    query = (
        "SELECT (SELECT count(*) FROM events WHERE publish_time IS NULL)"
        " + (SELECT count(*) FROM deliveries WHERE state = 'PENDING')"
    )
    while True:
        with world.database.by_hand() as connection:
            ((left,),) = [tuple(row) for row in connection.execute(query)]
        if not left:
            return
        await asyncio.sleep(0.5)


def _violations(world: _World, secret: str, expected: int, *, strict: bool) -> dict[str, list[str]]:
    """Return what contradicts the promises.

    Args:
        world: after it settled.
        secret: what signs the events.
        expected: how many events there must be.
        strict: whether also repetitions are in order, as where one process publishes.
    """
    with world.database.by_hand() as connection:
        ids = [row[0] for row in connection.execute("SELECT event_id FROM events")]
        undelivered = connection.execute(
            "SELECT count(*) FROM deliveries WHERE state <> 'DELIVERED'"
        ).fetchone()[0]
    bodies: dict[str, set[bytes]] = defaultdict(set)
    order: dict[str, list[str]] = defaultdict(list)
    forged = []
    for one in world.receiver.deliveries:
        event = one.event
        bodies[event["id"]].add(one.body)
        if one.accepted and (strict or event["sequence"] not in order[event["subject"]]):
            order[event["subject"]].append(event["sequence"])
        signed = signature.headers(
            secret,
            event_id=event["id"],
            timestamp=int(one.headers["webhook-timestamp"]),
            body=one.body,
        )
        if not signed.items() <= one.headers.items():
            forged.append(event["id"])
    arrived = {event["id"] for event in world.receiver.events()}
    return {
        "events that do not exist": [f"{len(ids)} of {expected}"] if len(ids) != expected else [],
        "events that did not arrive": sorted(set(ids) - arrived),
        "events that nobody wrote": sorted(bodies.keys() - set(ids)),
        "deliveries that did not end": [str(undelivered)] if undelivered else [],
        "ids with several bodies": [one for one, found in bodies.items() if len(found) > 1],
        "campaigns out of order": [
            campaign for campaign, found in order.items() if found != sorted(found)
        ],
        "wrong signatures": forged,
        "redirects that were followed": ["some"] * world.receiver.followed,
        "processes": [],
    }
