"""S7: acknowledged results survive SIGKILL; others are repeated and count once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from pysqlite3 import dbapi2

from acceptance.forked import ForkedService
from acceptance.processes import Service
from closeout.aio import StatusClient
from closeout.errors import DeadlineExceededError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import (
    FAILED,
    PATIENCE_SECONDS,
    SENT,
    Stream,
    check_invariants,
    eventually,
    reporting,
    results,
)
from providers.held_port import HeldPort

_TOTAL, _A_FRAME, _IN_FLIGHT, _KILLS = 20_000, 100, 8, 5
#: Calls of BatchReportResults: campaigns, results of each in a call, calls at once, kills.
_CAMPAIGNS, _A_CALL, _CALLERS, _CALL_KILLS = 4, 10, 4, 10
_CALL_RESULTS = 2_000
_FRAMES = range(_TOTAL // _A_FRAME)
COMPLETED = 5


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Service]:
    """A status service as a process, which keeps its port over restarts."""
    with (
        HeldPort() as port,
        ForkedService(
            "status_service",
            "status service listening on ",
            tmp_path,
            {"CLOSEOUT_STATUS_LISTEN": port.address},
        ) as service,
    ):
        service.start()
        yield service


def stored(status: Service) -> set[int]:
    """Return the sequences that have a result in the database."""
    connection = dbapi2.connect(status.folder / "closeout-status.db", timeout=PATIENCE_SECONDS)
    try:
        return {row[0] for row in connection.execute("SELECT sequence FROM results")}
    finally:
        connection.close()


async def answering(client: StatusClient) -> None:
    """Wait until the service answers.

    gRPC shares connections between channels: a new channel may start with the failure
    of an earlier one while the service was down, and streams are not retried.
    """

    async def answers() -> bool:
        try:
            await client.get_campaign(campaign_id="a")
        except UnavailableError:
            return False
        return True

    await eventually(answers, what="the service answers")


@asynccontextmanager
async def streaming(client: StatusClient) -> AsyncIterator[Stream]:
    """Open a stream of results once the service answers."""
    await answering(client)
    async with reporting(client) as stream:
        yield stream


async def report(stream: Stream, frames: list[int], acknowledged: set[int]) -> None:
    """Report frames with a bounded number in flight; record the acknowledged ones."""
    sent: list[int] = []

    def record() -> None:
        acknowledged.update(sent[: stream.acked_through])

    try:
        for frame in frames:
            first = frame * _A_FRAME + 1
            outcome = FAILED if frame % 10 == 0 else SENT
            sent.append(frame)
            await stream.send("a", *results(range(first, first + _A_FRAME), outcome))
            while len(sent) - stream.acked_through >= _IN_FLIGHT:
                await stream.acked(stream.acked_through + 1)
                record()
        await stream.acked(len(sent))
    finally:
        record()


async def test_s7_acknowledged_frames_survive_sigkill(status: Service) -> None:
    """Killed five times at random among 20,000 results: all are stored, each once."""
    chance = random.Random(20_000)  # noqa: S311 - where to kill, not a secret
    async with StatusClient(status.address) as client:
        await client.create_campaign(campaign_id="a")
        await client.start_campaign(campaign_id="a", total=_TOTAL)
    acknowledged: set[int] = set()
    generations = set()
    for _ in range(_KILLS):
        missing = [frame for frame in _FRAMES if frame not in acknowledged]
        kill_after = chance.randrange(1, len(missing) // 3)
        async with StatusClient(status.address) as client, streaming(client) as stream:
            reporter = asyncio.create_task(report(stream, missing, acknowledged))
            await stream.until(lambda: stream.acked_through >= kill_after)  # noqa: B023
            status.kill()
            with pytest.raises((AssertionError, grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                await reporter
            await stream.status()
            acknowledged.update(missing[: stream.acked_through])
            generations.update(answer.store_generation for answer in stream.responses)
        await asyncio.to_thread(status.start)
        kept = stored(status)
        for frame in acknowledged:
            assert set(range(frame * _A_FRAME + 1, (frame + 1) * _A_FRAME + 1)) <= kept
    assert len(generations) == 1
    async with StatusClient(status.address) as client:
        rest = [frame for frame in _FRAMES if frame not in acknowledged]
        assert rest, "killed before the end"
        async with streaming(client) as stream:
            await report(stream, rest, acknowledged)
            assert stream.states == {"a": COMPLETED}
        campaign = await client.get_campaign(campaign_id="a")
        assert not (await client.repair_campaigns()).diagnoses
    assert (campaign.state, campaign.sent, campaign.failed) == (COMPLETED, 18_000, 2_000)
    assert status.terminate() == 0
    assert not status.events("campaign_repaired")
    connection = dbapi2.connect(status.folder / "closeout-status.db")
    check_invariants(connection)
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()


async def test_s7_calls_repeated_across_sigkill_count_once(status: Service) -> None:
    """Each call made one to three times in random order, killed ten times: exact at the end.

    A call that fails is repeated, as its caller has to; one that was answered is kept.
    """
    chance = random.Random(2_000)  # noqa: S311 - what to call when, not a secret
    names = [f"c{number}" for number in range(_CAMPAIGNS)]
    each = _CALL_RESULTS // _CAMPAIGNS
    calls = [
        [
            pb.CampaignResults(
                campaign_id=name,
                results=results(range(first, first + _A_CALL), FAILED if first % 7 == 1 else SENT),
            )
            for name in names
        ]
        for first in range(1, each + 1, _A_CALL)
    ]
    planned = [number for number in range(len(calls)) for _ in range(chance.randint(1, 3))]
    chance.shuffle(planned)
    answered: list[int] = []
    async with StatusClient(status.address) as client:
        for name in names:
            await client.create_campaign(campaign_id=name)
            await client.start_campaign(campaign_id=name, total=each)
    kills = sorted(chance.sample(range(1, len(planned) - _CALLERS), _CALL_KILLS))

    async def call(client: StatusClient) -> None:
        while planned:
            number = planned.pop()
            try:
                response = await client.batch_report_results(calls[number])
            except (UnavailableError, DeadlineExceededError):
                planned.insert(chance.randint(0, len(planned)), number)
                continue
            assert not any(receipt.HasField("rejection") for receipt in response.receipts)
            answered.append(number)

    async def kill() -> None:
        for count in kills:
            while len(answered) < count:  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.001)
            status.kill()
            await asyncio.to_thread(status.start)

    async with StatusClient(status.address) as client, asyncio.timeout(6 * PATIENCE_SECONDS):
        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for _ in range(_CALLERS):
                group.create_task(call(client))
        assert set(answered) == set(range(len(calls)))
        for name in names:
            campaign = await client.get_campaign(campaign_id=name)
            failed = sum(_A_CALL for first in range(1, each + 1, _A_CALL) if first % 7 == 1)
            assert (campaign.state, campaign.failed) == (COMPLETED, failed)
            assert campaign.sent + campaign.failed == each
            stored_results = [row async for row in client.list_results(campaign_id=name)]
            assert [row.sequence for row in stored_results] == list(range(1, each + 1))
        assert not (await client.repair_campaigns()).diagnoses
    assert status.terminate() == 0
    assert not status.events("campaign_repaired")
    connection = dbapi2.connect(status.folder / "closeout-status.db")
    check_invariants(connection)
    connection.close()
