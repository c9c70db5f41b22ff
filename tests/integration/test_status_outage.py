"""S7, L1: PostgreSQL fails while results come in; all is stored in the end, each once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from closeout.aio.channel import open_channel
from closeout.errors import UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import PostgresqlDatabase
from integration.status_support import Status, Stream, eventually, reporting, results, serving
from providers.postgresql_server import OWNER, PostgresqlServer

SENDING, COMPLETED = 3, 5
_A_FRAME = 20
#: How many frames are sent before the outage, and how many while it lasts.
_BEFORE, _DURING = 100, 60
_TOTAL = (_BEFORE + _DURING) * _A_FRAME
#: Small enough that the writer is at work all the time.
_SETTINGS = {"commit_results": 3 * _A_FRAME, "queue_frames": 8}
_END_CONNECTIONS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """A server to break; each test leaves it whole."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture
def database(server: PostgresqlServer) -> PostgresqlDatabase:
    """A database of it."""
    return PostgresqlDatabase(server.create_database())


@dataclass
class Outage(ABC):
    """How a server fails and comes back; the methods block."""

    server: PostgresqlServer
    database: PostgresqlDatabase

    @abstractmethod
    def begin(self) -> None:
        """Let it fail."""

    def end(self) -> None:
        """Let it come back."""
        self.server.start()

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator, in the database of the test."""
        name = self.database.url.rpartition("/")[2]
        with self.server.connect(name, user="postgres") as connection:
            for statement in statements:
                connection.execute(statement)


class Crash(Outage):
    """All its processes are killed; it recovers."""

    def begin(self) -> None:
        """Let it fail."""
        self.server.kill()


class Restart(Outage):
    """An administrator restarts it: connections are ended in order."""

    def begin(self) -> None:
        """Let it fail."""
        self.server.stop("fast")


class Demotion(Outage):
    """It answers, and takes no writes until it is promoted."""

    def begin(self) -> None:
        """Let it fail."""
        self.server.stop("immediate")
        self.server.start()  # a standby begins with what is whole
        self.server.stop("fast")
        self.server.start(standby=True)

    def end(self) -> None:
        """Let it come back."""
        self.execute("SELECT pg_promote()")


class LossOfDurability(Outage):
    """It answers, and would forget what it commits."""

    def begin(self) -> None:
        """Let it fail."""
        self.execute(f"ALTER ROLE {OWNER} SET synchronous_commit = off", _END_CONNECTIONS)

    def end(self) -> None:
        """Let it come back."""
        self.execute(f"ALTER ROLE {OWNER} RESET synchronous_commit")


class Health:
    """What the service says of itself."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = health_pb2_grpc.HealthStub(channel)

    async def good(self) -> bool:
        """Whether it says SERVING."""
        answer = await self._stub.Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def bad(self) -> bool:
        """Whether it says something else."""
        return not await self.good()


async def send(stream: Stream, first: int, count: int) -> None:
    """Send frames; ``first`` is the number of the first."""
    for frame in range(first, first + count):
        last = frame * _A_FRAME
        await stream.send("a", *results(range(last - _A_FRAME + 1, last + 1)))


async def check_all_is_stored_once(status: Status, stream: Stream) -> None:
    """Check that everything is acknowledged, stored and complete, with nothing to repair."""
    await stream.acked(_BEFORE + _DURING)
    new, raised, duplicate = stream.counts
    # What was committed when its answer was lost is found again as a duplicate.
    assert (new + duplicate, raised) == (_TOTAL, 0)
    assert stream.states == {"a": COMPLETED}
    assert not stream.rejections
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.sent) == (COMPLETED, _TOTAL)
    assert not (await status.client.repair_campaigns()).diagnoses
    status.check_invariants()


@pytest.mark.parametrize("kind", [Crash, Restart, Demotion, LossOfDurability])
async def test_s7_an_outage_while_frames_stream_loses_nothing(
    server: PostgresqlServer, database: PostgresqlDatabase, kind: type[Outage]
) -> None:
    """Nothing is acknowledged that is not kept; health and calls say what is; then it goes on."""
    outage = kind(server, database)
    async with (
        serving(database, **_SETTINGS) as status,
        open_channel(status.address) as channel,
        reporting(status.client) as stream,
    ):
        health = Health(channel)
        await status.start("a", _TOTAL)
        await eventually(health.good, what="health says SERVING")
        sending = asyncio.create_task(send(stream, 1, _BEFORE))
        await stream.acked(_BEFORE // 4)
        await asyncio.to_thread(outage.begin)
        await sending
        sending = asyncio.create_task(send(stream, _BEFORE + 1, _DURING))
        await eventually(health.bad, what="health says NOT_SERVING")
        with pytest.raises(UnavailableError) as caught:
            await status.client.pause_campaign(campaign_id="a")
        assert caught.value.reason == "STORE_UNAVAILABLE"
        assert caught.value.retry_after_seconds
        assert stream.acked_through < _BEFORE + _DURING
        await asyncio.to_thread(outage.end)
        (kept,) = status.execute("SELECT count(*) FROM results")
        assert kept[0] >= stream.acked_through * _A_FRAME
        await eventually(health.good, what="health says SERVING again")
        await sending
        await check_all_is_stored_once(status, stream)


async def test_s7_a_frozen_server_goes_on_where_it_was(
    server: PostgresqlServer, database: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing answers nothing is acknowledged, and calls end; health says what is."""
    monkeypatch.setattr("service_runtime.database._LONG_WRITE", 1.0)
    async with (
        serving(database, **_SETTINGS) as status,
        open_channel(status.address) as channel,
        reporting(status.client) as stream,
    ):
        health = Health(channel)
        await status.start("a", _TOTAL)
        await eventually(health.good, what="health says SERVING")
        sending = asyncio.create_task(send(stream, 1, _BEFORE))
        await stream.acked(_BEFORE // 4)
        await asyncio.to_thread(server.pause)
        try:
            await sending
            sending = asyncio.create_task(send(stream, _BEFORE + 1, _DURING))
            acknowledged = []
            for _ in range(2):  # what was on its way when it froze has come after the first
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await status.stub.GetCampaign(
                        pb.GetCampaignRequest(campaign_id="a"), timeout=0.5
                    )
                assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
                acknowledged.append(stream.acked_through)
            assert acknowledged[0] == acknowledged[1] < _BEFORE + _DURING
            await eventually(health.bad, what="health says NOT_SERVING")
        finally:
            await asyncio.to_thread(server.resume)
        await eventually(health.good, what="health says SERVING again")
        await sending
        await check_all_is_stored_once(status, stream)


async def test_s7_a_call_during_an_outage_is_repeated_and_counts_once(
    server: PostgresqlServer, database: PostgresqlDatabase
) -> None:
    """BatchReportResults is UNAVAILABLE, not without end; all it brought is stored once."""
    total = 500
    call = [pb.CampaignResults(campaign_id="a", results=results(range(1, total + 1)))]
    outage = Crash(server, database)
    async with serving(database) as status:
        await status.start("a", total)
        await asyncio.to_thread(outage.begin)
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                await status.client.batch_report_results(call)
            assert caught.value.reason == "STORE_UNAVAILABLE"
            assert caught.value.retry_after_seconds
        await asyncio.to_thread(outage.end)

        async def stored() -> bool:
            try:
                (receipt,) = (await status.client.batch_report_results(call)).receipts
            except UnavailableError:
                return False
            assert receipt.campaign_state.state == COMPLETED
            return receipt.new_results + receipt.duplicate_results == total

        await eventually(stored, what="the repeated call is answered")
        assert (await status.client.get_campaign(campaign_id="a")).sent == total
        status.check_invariants()


async def test_s7_connections_ended_again_and_again_lose_nothing(
    database: PostgresqlDatabase,
) -> None:
    """Whatever transaction a connection was in when it was ended is done again, and counts once."""
    rounds = 8
    share = (_BEFORE + _DURING) // rounds
    async with serving(database, **_SETTINGS) as status, reporting(status.client) as stream:
        await status.start("a", _TOTAL)
        for number in range(rounds):
            await send(stream, number * share + 1, share)
            await stream.acked(number * share + 1 + number)  # ended a little later each time
            assert status.execute(_END_CONNECTIONS)[0][0]
            await stream.acked((number + 1) * share)
        await check_all_is_stored_once(status, stream)
