"""Several status services on one PostgreSQL: what one does, the others see and announce."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime

import grpc
import pytest

from closeout.aio import StatusClient
from closeout.aio.channel import open_channel
from closeout.errors import UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import PostgresqlDatabase
from integration.migrated import MigratedDatabases
from integration.status_support import (
    PATIENCE_SECONDS,
    eventually,
    reporting,
    results,
    status_settings,
    without_pace,
)
from providers.postgresql_server import PostgresqlServer
from service_runtime import grpc_server
from status_service.live import database_listener
from status_service.recording.ledger import lock
from status_service.recording.types import CampaignKey
from status_service.server import running

SENDING, PAUSED, COMPLETED = pb.Campaign.SENDING, pb.Campaign.PAUSED, pb.Campaign.COMPLETED
#: A poll that never comes within a test, seconds.
_NEVER = 3_600.0


@dataclass
class Replicas:
    """Two services on one database, and a client of each."""

    url: str
    here: StatusClient
    there: StatusClient
    addresses: list[str]


@pytest.fixture
async def replicas(
    status_databases: MigratedDatabases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    """Two services that share a database."""
    url = status_databases.take()
    async with AsyncExitStack() as stack:
        addresses = []
        for _ in range(2):
            settings = status_settings(tmp_path_factory.mktemp("status"), database_url=url)
            addresses.append((await stack.enter_async_context(running(settings))).address)
        here, there = [
            await stack.enter_async_context(StatusClient(address)) for address in addresses
        ]
        yield Replicas(url, here, there, addresses)
    status_databases.give_back(url)


@pytest.fixture
def notified_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let changes be seen by notifications alone, never by a poll."""
    monkeypatch.setattr(database_listener, "_POLL", _NEVER)
    monkeypatch.setattr("status_service.live.looks._POLL", _NEVER)


@pytest.fixture
def polled_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no notification come, as if each were lost."""
    monkeypatch.setattr(
        database_listener._Listener, "_note_change", lambda _self, _notification: None
    )
    monkeypatch.setattr("status_service.live.looks._POLL", _NEVER)


async def _watched_to_its_end(replicas: Replicas) -> None:
    """Send a campaign through one service, and watch it and report to it on the other."""
    await replicas.here.create_campaign(campaign_id="a")
    await replicas.here.start_campaign(campaign_id="a", total=4)
    seen: list[pb.Campaign] = []

    async def watch() -> None:
        async for campaign in replicas.there.watch_campaign(campaign_id="a"):
            seen.append(campaign)  # noqa: PERF401 - looked at while it grows

    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        reporting(replicas.here) as here,
        reporting(replicas.there) as there,
    ):
        watcher = asyncio.create_task(watch())
        await there.send("a", *results([1]))
        await there.announced("a", SENDING)
        await replicas.here.pause_campaign(campaign_id="a")
        await there.announced("a", PAUSED)
        await here.send("a", *results([2, 3]))

        async def three_seen() -> bool:
            return bool(seen) and (seen[-1].state, seen[-1].sent) == (PAUSED, 3)

        await eventually(three_seen, what="the watcher sees what came through the other service")
        await here.send("a", *results([4]))
        await there.announced("a", COMPLETED)
        await watcher
    assert (seen[-1].state, seen[-1].sent) == (COMPLETED, 4)


@pytest.mark.usefixtures("notified_only")
async def test_changes_through_another_service_are_announced_at_once(replicas: Replicas) -> None:
    """The database announces them: nothing is polled in this test."""
    await _watched_to_its_end(replicas)


@pytest.mark.usefixtures("notified_only")
async def test_a_state_through_another_service_does_not_wait_for_counters(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long counters wait to be read, a pause and the end come at once."""
    await replicas.here.create_campaign(campaign_id="a")
    await replicas.here.start_campaign(campaign_id="a", total=2)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        reporting(replicas.here) as here,
        aclosing(replicas.there.watch_campaign(campaign_id="a")) as watching,
    ):
        assert (await anext(watching)).processed == 0
        monkeypatch.setattr(database_listener, "_BETWEEN_READS", _NEVER)
        await here.send("a", *results([1]))
        await here.acked(1)  # its notification is the last one that is read for its counters
        await replicas.here.pause_campaign(campaign_id="a")
        while (campaign := await anext(watching)).state != PAUSED:
            assert campaign.state == SENDING
        assert campaign.processed == 1
        await here.send("a", *results([2]))
        assert [one.state async for one in watching][-1] == COMPLETED


@pytest.mark.usefixtures("polled_only")
async def test_a_lost_notification_costs_a_look_and_no_more(replicas: Replicas) -> None:
    """What is watched is polled: no notification comes in this test."""
    await _watched_to_its_end(replicas)


@pytest.mark.usefixtures("notified_only")
async def test_what_changed_while_nobody_listened_is_looked_at(
    replicas: Replicas, postgresql_server: PostgresqlServer
) -> None:
    """The connection that listens is cut again and again: each time it begins with a look."""
    database = replicas.url.rpartition("/")[2]
    stop = asyncio.Event()

    def cut() -> None:
        with postgresql_server.connect(database) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )

    async def cut_again_and_again() -> None:
        while not stop.is_set():
            await asyncio.to_thread(cut)
            await asyncio.sleep(0)

    cutting = asyncio.create_task(cut_again_and_again())
    try:
        await _watched_to_its_end(replicas)
    finally:
        stop.set()
        await cutting


async def test_one_channel_spreads_its_calls_over_all_services(replicas: Replicas) -> None:
    """Addresses in a list are used in turn, and one that is gone is passed over."""
    await replicas.here.create_campaign(campaign_id="a")
    async with open_channel(",".join(replicas.addresses)) as channel:
        client = StatusClient(channel)
        for _ in range(8):
            assert (await client.get_campaign(campaign_id="a")).campaign_id == "a"
    async with open_channel(f"{replicas.addresses[0]},127.0.0.1:1") as channel:
        client = StatusClient(channel)
        for _ in range(8):
            assert (await client.get_campaign(campaign_id="a")).campaign_id == "a"


async def test_of_services_that_create_one_campaign_at_once_one_does(replicas: Replicas) -> None:
    """Whoever comes second receives what the first made, however close they are."""
    for number in range(30):
        name = f"c{number}"
        made = await asyncio.gather(
            *(
                client.create_campaign(campaign_id=name, display_name="x")
                for client in [replicas.here, replicas.there] * 3
            )
        )
        assert {answer.campaign.campaign_id for answer in made} == {name}
        assert sum(answer.created for answer in made) == 1
    listed = [campaign async for campaign in replicas.here.list_campaigns()]
    assert len(listed) == 30


@pytest.mark.usefixtures("impatient")
async def test_l5_a_campaign_that_is_locked_by_hand_holds_up_no_other(
    replicas: Replicas, postgresql_server: PostgresqlServer
) -> None:
    """Its frames are refused with a reason and taken later; those of others are stored.

    Also of one that waits with it for the same connection: the first and the third.
    """
    for name in ("a", "b", "c"):
        await replicas.here.create_campaign(campaign_id=name)
        await replicas.here.start_campaign(campaign_id=name, total=1)
    database = replicas.url.rpartition("/")[2]
    async with reporting(replicas.here) as stream:
        with postgresql_server.connect(database) as by_hand:
            by_hand.autocommit = False
            by_hand.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'a' FOR UPDATE")
            await stream.send("a", *results([1]))
            await stream.send("b", *results([1]))
            await stream.send("c", *results([1]))
            await stream.send("a", *results([1]))
            await stream.acked(4)
            assert stream.rejections == [(1, "a", "CAMPAIGN_BUSY"), (4, "a", "CAMPAIGN_BUSY")]
            assert stream.states["b"] == stream.states["c"] == COMPLETED
            by_hand.rollback()
        await stream.send("a", *results([1]))
        await stream.announced("a", COMPLETED)


@pytest.mark.usefixtures("impatient")
async def test_a_change_of_a_locked_campaign_says_that_it_is_busy(replicas: Replicas) -> None:
    """CAMPAIGN_BUSY, UNAVAILABLE with a time to try again; afterwards it is as it was."""
    await replicas.here.create_campaign(campaign_id="a")
    before = await replicas.here.start_campaign(campaign_id="a", total=1)
    async with grpc.aio.insecure_channel(
        replicas.addresses[0], options=[("grpc.enable_retries", 0)]
    ) as channel:
        client = StatusClient(channel, timeout_seconds=PATIENCE_SECONDS)
        with PostgresqlDatabase(replicas.url).by_hand() as by_hand:
            by_hand.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'a' FOR UPDATE")
            failures = await asyncio.gather(
                client.start_campaign(campaign_id="a", total=1),
                client.pause_campaign(campaign_id="a"),
                client.resume_campaign(campaign_id="a"),
                client.cancel_campaign(campaign_id="a"),
                client.mark_complete(campaign_id="a", force=True, reason="x"),
                return_exceptions=True,
            )
        for failure in failures:
            assert isinstance(failure, UnavailableError)
            assert failure.reason == "CAMPAIGN_BUSY"
            assert failure.metadata == {"campaign_id": "a"}
            assert failure.retry_after_seconds
        after = await client.get_campaign(campaign_id="a")
        assert without_pace(after) == before.campaign


async def test_s5_the_time_of_a_transaction_is_read_when_it_has_its_locks(
    replicas: Replicas,
) -> None:
    """So what it writes is later than what was written by whoever it waited for."""
    for name in ("a", "b", "c"):
        await replicas.here.create_campaign(campaign_id=name)
    database = PostgresqlDatabase(replicas.url)
    keys = [CampaignKey("default", name) for name in ("a", "b", "c")]
    engine = database.engine()

    def lock_all() -> dict[str, datetime]:
        with engine.begin() as connection:
            return {key.campaign_id: row.now for key, row in lock(connection, keys).items()}

    with database.by_hand() as by_hand:
        by_hand.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'b' FOR UPDATE")
        locking = asyncio.create_task(asyncio.to_thread(lock_all))

        async def waits() -> bool:
            with database.by_hand() as another:
                (waiting,) = another.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND cardinality(pg_blocking_pids(pid)) > 0"
                ).fetchone()
            return bool(waiting)

        await eventually(waits, what="it waits for the row")
        released = by_hand.execute("SELECT clock_timestamp()").fetchone()[0]
    now = await locking
    engine.dispose()
    assert now["a"] < released < now["b"] <= now["c"]


async def test_a_connection_that_has_come_of_age_is_closed(
    status_databases: MigratedDatabases,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream that goes on for ever is ended as one that broke, and may begin elsewhere."""
    monkeypatch.setattr(grpc_server, "_LAST_CALLS_SECONDS", 1)
    url = status_databases.take()
    settings = status_settings(
        tmp_path_factory.mktemp("status"), database_url=url, connection_age_seconds=0.5
    )
    async with running(settings) as service, StatusClient(service.address) as client:
        await client.create_campaign(campaign_id="a")
        await client.start_campaign(campaign_id="a", total=2)
        async with reporting(client) as stream:
            await stream.send("a", *results([1]))
            await stream.acked(1)
            ended = await stream.status()
        assert ended is not None
        assert ended.code() is grpc.StatusCode.UNAVAILABLE
        async with reporting(client) as stream:
            await stream.send("a", *results([1, 2]))
            await stream.announced("a", COMPLETED)
    status_databases.give_back(url)
