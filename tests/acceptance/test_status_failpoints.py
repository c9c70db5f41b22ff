"""S1 to S8 and L1 with a fault at every step of the write path of the status service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from pysqlite3 import dbapi2

from acceptance import failing_service
from acceptance.deployment import until
from acceptance.failing_campaign import LAST, MIDDLE, TOTAL, Reported, meddling
from acceptance.failpoints import COMPLETING, FORCING, TRACE, WRITING, Failpoint, Fault, When, fired
from acceptance.forked import ForkedService
from clients.errors import UnavailableError
from clients.status import StatusClient
from integration.status_support import PATIENCE_SECONDS, UNKNOWN, check_invariants
from protos.campaign.v1 import status_pb2 as pb

#: A frame in mid-campaign and the one that completes it, and the steps of each.
FRAMES = {"middle": (MIDDLE, WRITING), "last": (LAST, COMPLETING)}


def points(*steps: str) -> list[Failpoint]:
    """Return every fault on either side of each of these steps."""
    return [Failpoint(fault, when, step) for fault in Fault for step in steps for when in When]


class SqliteStore:
    """The database of a service in its folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "closeout-status.db"

    def outcomes(self) -> dict[int, int]:
        """Return the stored outcome of each message of the one campaign."""
        connection = dbapi2.connect(self._path, timeout=PATIENCE_SECONDS)
        try:
            return dict(connection.execute("SELECT sequence, outcome FROM results").fetchall())
        finally:
            connection.close()

    def check(self) -> None:
        """Check what must hold in it."""
        connection = dbapi2.connect(self._path, timeout=PATIENCE_SECONDS)
        try:
            check_invariants(connection)
        finally:
            connection.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ForkedService]:
    """A status service with faults, started, which comes back on the port it had."""
    with ForkedService(
        failing_service.main,
        "status service listening on ",
        tmp_path,
        {
            "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
            # It looks for defects all the while, and must find none.
            "CLOSEOUT_STATUS_RECONCILE_INTERVAL_SECONDS": "0.05",
        },
    ) as started:
        started.environment["CLOSEOUT_STATUS_LISTEN"] = started.start()
        yield started


@pytest.fixture
def store(service: ForkedService) -> SqliteStore:
    """Its database."""
    return SqliteStore(service.folder)


@pytest.mark.parametrize(
    ("place", "point"),
    [
        pytest.param(place, point, id=f"{place}-{point}")
        for place, (_, steps) in FRAMES.items()
        for point in points(*steps)
    ],
)
async def test_s1_to_s8_a_fault_at_any_step_of_a_frame(
    service: ForkedService, store: SqliteStore, place: str, point: Failpoint
) -> None:
    """What was acknowledged is there, and the campaign completes once, whatever fails where."""
    frame, _ = FRAMES[place]
    campaign = Reported.with_code("a", str(point), frame)
    async with StatusClient(service.address) as client:
        await campaign.start(client)
    async with meddling(service, "a"):
        reporting = asyncio.create_task(campaign.report(service.address))
        await happened(service, point)
        await reporting
        if point.fault is not Fault.ERROR:
            kept = await left_behind(service, store)
            for sequence, outcome in campaign.outcomes_of(campaign.acknowledged).items():
                assert kept[sequence] >= outcome, "S7"
            assert (campaign.frames[frame][-1].sequence in kept) == point.is_committed
        await campaign.report_all(service)
        await completed(service)
    assert store.outcomes() == campaign.outcomes
    check(service, store, point)


@pytest.mark.parametrize("point", points(*FORCING), ids=str)
async def test_s14_a_fault_at_any_step_of_a_completion_by_hand(
    service: ForkedService, store: SqliteStore, point: Failpoint
) -> None:
    """MarkComplete with force does all of it or nothing, and once, when it is called again."""
    campaign = Reported.with_code("a", "", 0)
    async with StatusClient(service.address) as client:
        await campaign.start(client)
    del campaign.frames[LAST]
    await campaign.report_all(service)
    expected = campaign.outcomes | dict.fromkeys(range(TOTAL - 11, TOTAL + 1), UNKNOWN)
    # A channel that repeats no call by itself.
    async with grpc.aio.insecure_channel(service.address) as channel:
        call = asyncio.create_task(
            StatusClient(channel).mark_complete(campaign_id="a", force=True, reason=str(point))
        )
        await happened(service, point)
        with pytest.raises(UnavailableError):
            await call
    if point.fault is not Fault.ERROR:
        kept = await left_behind(service, store)
        assert kept == (expected if point.is_committed else campaign.outcomes)
    async with StatusClient(service.address) as client:
        await client.mark_complete(campaign_id="a", force=True, reason=str(point))
    await completed(service)
    assert store.outcomes() == expected
    check(service, store, point)


@pytest.mark.parametrize("place", FRAMES)
async def test_the_failpoints_are_the_steps_of_a_frame(service: ForkedService, place: str) -> None:
    """A statement that nobody attacks yet shows here."""
    frame, steps = FRAMES[place]
    campaign = Reported.with_code("a", TRACE, frame)
    async with StatusClient(service.address) as client:
        await campaign.start(client)
    await campaign.report_all(service)
    await until(lambda: "trace acknowledge" in fired(service.folder))  # noted behind the answer
    assert traced(service) == list(steps)


async def test_the_failpoints_are_the_steps_of_a_completion_by_hand(service: ForkedService) -> None:
    """A statement that nobody attacks yet shows here."""
    async with StatusClient(service.address) as client:
        await Reported.with_code("a", "", 0).start(client)
        await client.mark_complete(campaign_id="a", force=True, reason=TRACE)
    assert traced(service) == list(FORCING)


def traced(service: ForkedService) -> list[str]:
    """Return the steps that were noted, each where it came first."""
    return list(dict.fromkeys(line.removeprefix(f"{TRACE} ") for line in fired(service.folder)))


async def happened(service: ForkedService, point: Failpoint) -> None:
    """Wait until the fault has happened; a service that hangs or dies of it is gone then."""
    await until(lambda: fired(service.folder) == [str(point)])
    if point.fault is Fault.HANG:
        await asyncio.to_thread(service.kill)
    if point.fault is Fault.KILL:
        assert await asyncio.to_thread(service.wait) < 0


async def left_behind(service: ForkedService, store: SqliteStore) -> dict[int, int]:
    """Start what died, and return what it had stored, before anything is sent again."""
    await asyncio.to_thread(service.start)
    store.check()
    return store.outcomes()


async def completed(service: ForkedService) -> None:
    """Check that the campaign is completed, and that nothing is left to repair."""
    async with StatusClient(service.address) as client:
        campaign = await client.get_campaign(campaign_id="a")
        assert campaign.state == pb.Campaign.COMPLETED, "L1"
        assert not (await client.repair_campaigns()).diagnoses


def check(service: ForkedService, store: SqliteStore, point: Failpoint) -> None:
    """Check what must hold at the end of every fault."""
    store.check()
    assert fired(service.folder) == [str(point)], "it happened once"
    assert not service.events("campaign_repaired"), "L1"
    told = {line["event"] for line in service.events() if line["level"] != "info"}
    if point.fault is not Fault.ERROR:
        assert not told
    elif point.step != "acknowledge":
        assert told <= {"store_failed", "store_write_failed"}
        assert len(service.events("store_failed")) == 1, "S15"
    elif point.when is When.BEFORE:  # afterwards nobody may be left to fail for
        assert told == {"call_failed"}, "S15"
