"""S1, S3, S4, S5, S6, S7, S8, S14, L1: a fault at every step of the write path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from acceptance import failing_service
from acceptance.deployment import until
from acceptance.failing_campaign import FRESH, LAST, MIDDLE, TOTAL, Reported, interfering
from acceptance.failpoints import (
    ADDING,
    AHEAD,
    COMPLETING,
    FORCING,
    TRACE,
    WRITING,
    Failpoint,
    Fault,
    When,
    fired,
)
from acceptance.forked import ForkedService
from closeout.aio import StatusClient
from closeout.errors import UnavailableError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database, Hand, PostgresqlDatabase, SqliteDatabase
from integration.migrated import MigratedDatabases, make_file
from integration.status_support import UNKNOWN, check_invariants
from providers.held_port import HeldPort
from status_service import __main__ as status_main
from status_service.migrations import MIGRATIONS

#: Frames in mid-campaign and the completing frame, each with its steps.
FRAMES = {"fresh": (FRESH, ADDING), "middle": (MIDDLE, WRITING), "last": (LAST, COMPLETING)}
#: Every fault on either side of a step.
FAULTS = [(fault, when) for fault in Fault for when in When]
#: Those that tell most, by what is attacked: before a step is after the one before. A frame
#: in the middle takes the same steps as the last one, and a completion by hand has no
#: acknowledgement that could get lost.
TELLING = {
    "fresh": [(Fault.KILL, When.AFTER), (Fault.ERROR, When.AFTER)],
    "middle": [(Fault.KILL, When.AFTER)],
    "last": [(fault, When.AFTER) for fault in Fault],
    "by hand": [(Fault.KILL, When.AFTER), (Fault.ERROR, When.AFTER)],
}


class Target:
    """A campaign, the service that fails with it, and its database."""

    def __init__(self, service: ForkedService, database: Database, campaign_id: str) -> None:
        self.service = service
        self.database = database
        self.campaign_id = campaign_id

    @contextmanager
    def snapshot(self) -> Iterator[Hand]:
        """Read one committed state of the database while other transactions run."""
        with self.database.by_hand() as hand:
            if isinstance(self.database, SqliteDatabase):
                hand.execute("BEGIN")
            else:
                hand.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield hand

    def stored(self) -> dict[int, int]:
        """Check the invariants, and return the stored outcome of each message."""
        with self.snapshot() as hand:
            check_invariants(hand)
            rows = hand.execute(
                "SELECT sequence, outcome FROM results JOIN campaigns USING (campaign)"
                " WHERE campaign_id = ?",
                (self.campaign_id,),
            ).fetchall()
        return {row["sequence"]: row["outcome"] for row in rows}

    async def happened(self, point: Failpoint) -> None:
        """Wait until the fault has happened and a service that hangs or dies has ended."""
        await until(lambda: fired(self.service.folder) == [str(point)])
        if point.fault is Fault.HANG:
            await asyncio.to_thread(self.service.kill)
        if point.fault is Fault.KILL:
            assert await asyncio.to_thread(self.service.wait) < 0

    async def left_behind(self) -> dict[int, int]:
        """Restart the service, and return its stored outcomes before anything is repeated."""
        await asyncio.to_thread(self.service.start)
        return self.stored()

    async def check_end(self, expected: dict[int, int], point: Failpoint) -> None:
        """Check that the reported results completed the campaign, and check the log."""
        async with StatusClient(self.service.address) as client:
            campaign = await client.get_campaign(campaign_id=self.campaign_id)
            assert campaign.state == pb.Campaign.COMPLETED, "L1"
            repair = await client.repair_campaigns(campaign_id=self.campaign_id)
        assert not any(diagnosis.repaired for diagnosis in repair.diagnoses), "L1"
        assert not self.service.events("campaign_repaired"), "L1"
        assert self.stored() == expected
        assert fired(self.service.folder) == [str(point)], "it happened once"
        logged = {line["event"] for line in self.service.events() if line["level"] != "info"}
        if point.fault is not Fault.ERROR:
            assert not logged
        elif point.step != "acknowledge":
            assert logged <= {"store_failed", "store_write_failed"}
            assert len(self.service.events("store_failed")) == 1, "S15"
        else:
            assert logged == {"call_failed"}, "S15"


#: The faults of each step, by what is attacked.
Faults = dict[str, list[tuple[Fault, When]]]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Faults:
    """The telling ones, or with an option all."""
    return dict.fromkeys(TELLING, FAULTS) if request.config.getoption("--all-faults") else TELLING


#: Creates a target for the campaign with this id.
Aim = Callable[..., Target]


@pytest.fixture(params=["sqlite", "postgresql"])
def aim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Aim]:
    """Create targets on each kind of database: files, or one shared server."""
    services: list[ForkedService] = []
    ports = ExitStack()

    def target_for(campaign_id: str, main: Callable[[], int] = failing_service.main) -> Target:
        folder = tmp_path / campaign_id
        database = shared or SqliteDatabase(folder / "status.db")
        service = ForkedService(
            main,
            "status service listening on ",
            folder,
            {
                "CLOSEOUT_STATUS_LISTEN": ports.enter_context(HeldPort()).address,
                "CLOSEOUT_STATUS_DATABASE_URL": database.url,
                # The reconcile pass must find no defect.
                "CLOSEOUT_STATUS_RECONCILE_INTERVAL_SECONDS": "0.2",
            },
        )
        services.append(service)
        if isinstance(database, SqliteDatabase):
            make_file(database.path, MIGRATIONS)
        service.start()
        return Target(service, database, campaign_id)

    shared = None
    if request.param == "postgresql":
        databases: MigratedDatabases = request.getfixturevalue("status_databases")
        shared = PostgresqlDatabase(databases.take())
    yield target_for
    for service in services:
        if service.is_running:
            service.kill()
    ports.close()
    if shared is not None:
        databases.give_back(shared.url)


async def at_once(attacks: dict[str, Coroutine[Any, Any, None]]) -> None:
    """Attack several targets at once; a failure carries the fault in a note."""

    async def named(name: str, attack: Coroutine[Any, Any, None]) -> None:
        try:
            await attack
        except BaseException as error:
            error.add_note(f"with the fault: {name}")
            raise

    async with asyncio.TaskGroup() as group:
        for name, attack in attacks.items():
            group.create_task(named(name, attack))


@pytest.mark.parametrize(
    ("place", "step"), [(place, step) for place, (_, steps) in FRAMES.items() for step in steps]
)
async def test_s1_to_s8_a_fault_at_any_step_of_a_frame(
    aim: Aim, place: str, step: str, faults: Faults
) -> None:
    """After a fault, acknowledged results are stored and the campaign completes once."""
    await _attack_frame(aim, place, step, faults)


@pytest.mark.parametrize("aim", ["postgresql"], indirect=True)
@pytest.mark.parametrize("place", FRAMES)
async def test_s1_to_s8_a_fault_before_a_campaign_is_locked(
    aim: Aim, place: str, faults: Faults
) -> None:
    """The same where PostgreSQL looks at it first."""
    await _attack_frame(aim, place, AHEAD[0], faults)


async def _attack_frame(aim: Aim, place: str, step: str, faults: Faults) -> None:
    frame, _ = FRAMES[place]

    async def attack(point: Failpoint) -> None:
        target = await asyncio.to_thread(aim, f"{point.fault}-{point.when}")
        service = target.service
        campaign = Reported.with_code(target.campaign_id, str(point), frame)
        async with StatusClient(service.address) as client:
            await campaign.start(client)
        async with interfering(service, target.campaign_id):
            reporting = asyncio.create_task(campaign.report(service.address))
            await target.happened(point)
            await reporting
            if point.fault is not Fault.ERROR:
                kept = await target.left_behind()
                for sequence, outcome in campaign.outcomes_of(campaign.acknowledged).items():
                    assert kept[sequence] >= outcome, "S7"
                assert (campaign.frames[frame][-1].sequence in kept) == point.is_committed
            await campaign.report_all(service)
        await target.check_end(campaign.outcomes, point)

    points = [Failpoint(fault, when, step) for fault, when in faults[place]]
    await at_once({str(point): attack(point) for point in points})


@pytest.mark.parametrize("step", FORCING)
async def test_s14_a_fault_at_any_step_of_a_completion_by_hand(
    aim: Aim, step: str, faults: Faults
) -> None:
    """MarkComplete with force does everything or nothing, and a repetition completes once."""

    async def attack(point: Failpoint) -> None:
        target = await asyncio.to_thread(aim, f"{point.fault}-{point.when}")
        service = target.service
        campaign = Reported.with_code(target.campaign_id, "", 0)
        async with StatusClient(service.address) as client:
            await campaign.start(client)
        del campaign.frames[LAST]
        await campaign.report_all(service)
        expected = campaign.outcomes | dict.fromkeys(
            range(max(campaign.outcomes) + 1, TOTAL + 1), UNKNOWN
        )
        request = {"campaign_id": target.campaign_id, "force": True, "reason": str(point)}
        # A channel without automatic retries.
        async with grpc.aio.insecure_channel(service.address) as channel:
            call = asyncio.create_task(StatusClient(channel).mark_complete(**request))
            await target.happened(point)
            with pytest.raises(UnavailableError):
                await call
        if point.fault is not Fault.ERROR:
            kept = await target.left_behind()
            assert kept == (expected if point.is_committed else campaign.outcomes)
        async with StatusClient(service.address) as client:
            await client.mark_complete(**request)
        await target.check_end(expected, point)

    points = [Failpoint(fault, when, step) for fault, when in faults["by hand"]]
    await at_once({str(point): attack(point) for point in points})


@pytest.mark.parametrize("block", [1, 2, 3])
async def test_s1_a_kill_at_any_block_of_a_completion_by_force(aim: Aim, block: int) -> None:
    """Counters equal results after each block, and the same call completes it once."""
    at_once_recorded = 5

    async def attack(when: When) -> None:
        main = partial(failing_service.main, block=at_once_recorded)
        target = await asyncio.to_thread(aim, f"block-{when}", main)
        service = target.service
        campaign = Reported.with_code(target.campaign_id, "", 0)
        async with StatusClient(service.address) as client:
            await campaign.start(client)
        del campaign.frames[LAST]
        await campaign.report_all(service)
        missing = range(max(campaign.outcomes) + 1, TOTAL + 1)
        point = Failpoint(Fault.KILL, when, "commit")
        request = {
            "campaign_id": target.campaign_id,
            "force": True,
            "reason": f"block {block}: {point}",
        }
        async with grpc.aio.insecure_channel(service.address) as channel:
            call = asyncio.create_task(StatusClient(channel).mark_complete(**request))
            await target.happened(point)
            with pytest.raises(UnavailableError):
                await call
        kept = await target.left_behind()
        recorded = list(missing)[: at_once_recorded * (block if when is When.AFTER else block - 1)]
        assert kept == campaign.outcomes | dict.fromkeys(recorded, UNKNOWN)
        async with StatusClient(service.address) as client:
            found = await client.get_campaign(campaign_id=target.campaign_id)
            assert found.processed == len(kept), "S1"
            await client.mark_complete(**request)
        await target.check_end(campaign.outcomes | dict.fromkeys(missing, UNKNOWN), point)
        with target.snapshot() as hand:
            (forced,) = hand.execute(
                "SELECT forced FROM transitions JOIN campaigns USING (campaign)"
                " WHERE campaign_id = ? AND to_state = 'COMPLETED'",
                (target.campaign_id,),
            ).fetchone()
        assert forced == len(missing)

    await at_once({when: attack(when) for when in When})


@pytest.mark.parametrize("aim", ["postgresql"], indirect=True)
async def test_s4_another_instance_takes_over_from_one_that_hangs(aim: Aim) -> None:
    """It waits only for locks of the hanging instance, and completes the campaign once."""
    other = aim("other", status_main.main).service
    steps = [*((LAST, step) for step in COMPLETING), (FRESH, "look up results"), (FRESH, AHEAD[-1])]
    for frame, step in steps:
        point = Failpoint(Fault.HANG, When.AFTER, step)
        target = aim(f"{step.replace(' ', '-')}-{frame}")
        campaign = Reported.with_code(target.campaign_id, str(point), frame)
        again = Reported.with_code(target.campaign_id, "", frame)
        async with StatusClient(other.address) as client:
            await campaign.start(client)
            reporting = asyncio.create_task(campaign.report(target.service.address))
            await until(lambda: fired(target.service.folder) == [str(point)])  # noqa: B023
            takeover = asyncio.create_task(again.report_all(other))
            if not point.is_committed and step != "look up results":  # before any lock
                await until(lambda: is_waiting_for_a_lock(target.database))  # noqa: B023
                assert frame not in again.acknowledged
                await asyncio.to_thread(target.service.kill)
            await takeover
            final = await client.get_campaign(campaign_id=target.campaign_id)
            assert final.state == pb.Campaign.COMPLETED, step
            assert target.stored() == campaign.outcomes
        await asyncio.to_thread(target.service.kill)
        await reporting
    assert not other.events("campaign_repaired"), "L1"


def is_waiting_for_a_lock(database: Database) -> bool:
    """Return whether a transaction waits for the lock of another one."""
    with database.by_hand() as hand:
        (waiting,) = hand.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        ).fetchone()
    return bool(waiting)


@pytest.mark.parametrize("place", FRAMES)
async def test_the_failpoints_are_the_steps_of_a_frame(aim: Aim, place: str) -> None:
    """The list of attacked steps contains every statement."""
    frame, steps = FRAMES[place]
    target = aim("a")
    service = target.service
    campaign = Reported.with_code("a", TRACE, frame)
    async with StatusClient(service.address) as client:
        await campaign.start(client)
    await campaign.report_all(service)
    await until(lambda: "trace acknowledge" in fired(service.folder))  # recorded after the answer
    ahead: tuple[str, ...] = ()
    if isinstance(target.database, PostgresqlDatabase):
        ahead = AHEAD if place == "fresh" else AHEAD[:-1]
    assert traced(service) == [*ahead, *(step for step in steps if step not in ahead)]


async def test_the_failpoints_are_the_steps_of_a_completion_by_hand(aim: Aim) -> None:
    """The list of attacked steps contains every statement."""
    service = aim("a").service
    async with StatusClient(service.address) as client:
        await Reported.with_code("a", "", 0).start(client)
        await client.mark_complete(campaign_id="a", force=True, reason=TRACE)
    assert traced(service) == list(FORCING)


def traced(service: ForkedService) -> list[str]:
    """Return the recorded steps in order, each once."""
    return list(dict.fromkeys(line.removeprefix(f"{TRACE} ") for line in fired(service.folder)))
