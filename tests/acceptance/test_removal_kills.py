"""S1, S7: a service that deletes, or removes what is kept no longer, is killed at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from acceptance import failing_service
from acceptance.deployment import until
from acceptance.failpoints import DELETING, TRACE, Failpoint, Fault, When, fired
from acceptance.forked import ForkedService
from closeout.aio import StatusClient
from closeout.errors import NotFoundError, UnavailableError
from integration.databases import Database, PostgresqlDatabase, SqliteDatabase
from integration.migrated import MigratedDatabases
from integration.status_support import FAILED, check_invariants, results

_TOTAL, _AT_ONCE = 60, 20
#: How many transactions remove it: three of results and the end; of a deleted campaign also
#: one of events and one of the audit trail.
BLOCKS = {"results": 4, "campaign": 6}
#: What a removal counts as it goes, and what else goes with a deleted campaign.
_COUNTED = ("results", "events", "transitions")
_TABLES = (*_COUNTED, "samples", "failure_groups", "campaign_labels", "campaigns")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database, of each kind."""
    if request.param == "sqlite":
        yield SqliteDatabase(tmp_path / "status.db")
        return
    databases: MigratedDatabases = request.getfixturevalue("status_databases")
    found = PostgresqlDatabase(databases.take())
    yield found
    databases.give_back(found.url)


class Doomed:
    """A campaign that goes, another one that stays, and the service that dies meanwhile."""

    def __init__(self, database: Database, folder: Path, removing: str = "") -> None:
        self.database = database
        self.name = folder.name
        self.service = ForkedService(
            partial(failing_service.main, block=_AT_ONCE, removing=removing),
            "status service listening on ",
            folder,
            {
                "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
                "CLOSEOUT_STATUS_DATABASE_URL": database.url,
                "CLOSEOUT_STATUS_RESULTS_KEEP_DAYS": "1",
            },
        )
        self.service.start()
        self.number = 0
        self.before: dict[str, int] = {}
        self.others: dict[str, int] = {}

    async def prepare(self) -> None:
        """Let both campaigns end."""
        async with StatusClient(self.service.address) as client:
            for name in (self.name, f"{self.name}-other"):
                await client.create_campaign(campaign_id=name, labels={"list": name})
                await client.start_campaign(campaign_id=name, total=_TOTAL)
                await client.report(results(range(1, _TOTAL)), campaign_id=name)
                await client.report(results([_TOTAL], FAILED, code="550"), campaign_id=name)
        query = "SELECT campaign FROM campaigns WHERE campaign_id = ?"
        ((self.number,),) = self.database_rows(query, self.name)
        self.before, self.others = self.rows(self.number), self.rows(self.number + 1)

    async def delete(self, reason: str = "") -> bool:
        """Delete it, without a retry; False: the service died before it answered."""
        async with grpc.aio.insecure_channel(self.service.address) as channel:
            try:
                await StatusClient(channel).delete_campaign(campaign_id=self.name, reason=reason)
            except UnavailableError:
                return False
        return True

    async def died(self, point: Failpoint) -> None:
        """Wait until the fault has killed the service."""
        await until(lambda: fired(self.service.folder) == [str(point)])
        assert await asyncio.to_thread(self.service.wait) < 0

    async def go_on(self) -> None:
        """Start another service, and wait until nothing is left to remove."""
        self._forget_duties()
        await asyncio.to_thread(self.service.start)
        await until(lambda: not self.database_rows("SELECT * FROM removals"))

    async def end(self) -> None:
        """Kill the service, for which the next one need not wait."""
        await asyncio.to_thread(self.service.kill)
        self._forget_duties()

    def _forget_duties(self) -> None:
        """Let go of the duty of a service that was killed: it would last for 20 seconds."""
        self.database_rows("UPDATE duties SET until_time = 0")

    def database_rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement by hand; return its rows."""
        with self.database.by_hand() as hand:
            cursor = hand.execute(statement, values)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def rows(self, number: int) -> dict[str, int]:
        """Return how many rows there are of a campaign, by table."""
        return {
            table: self.database_rows(
                f"SELECT count(*) FROM {table} WHERE campaign = ?",  # noqa: S608
                number,
            )[0][0]
            for table in _TABLES
        }

    def check_others(self) -> None:
        """Check that nothing of another campaign is gone, and that all counters hold."""
        assert self.rows(self.number + 1) == self.others
        with self.database.by_hand() as hand:
            check_invariants(hand, organisation="default", broken=self.gone)

    @property
    def gone(self) -> set[str]:
        """The campaigns whose results are gone, while others keep theirs."""
        rows = self.database_rows(
            "SELECT campaign_id FROM campaigns WHERE results_remove_time IS NOT NULL"
        )
        return {str(name) for (name,) in rows}


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("what", BLOCKS)
async def test_s1_a_kill_at_any_block_of_a_removal(
    database: Database, tmp_path: Path, what: str, when: When
) -> None:
    """What is noted as gone is gone, no more and no less, and the next service removes the rest."""
    point = Failpoint(Fault.KILL, when, "commit")
    for block in range(1, BLOCKS[what] + 1):
        folder = tmp_path / f"block-{block}"
        doomed = await asyncio.to_thread(Doomed, database, folder, f"block {block}: {point}")
        await doomed.prepare()
        if what == "campaign":
            await doomed.delete()
        else:
            age = "UPDATE campaigns SET end_time = 0 WHERE campaign_id = ?"
            doomed.database_rows(age, doomed.name)
        await doomed.died(point)
        committed = block if when is When.AFTER else block - 1
        left = doomed.rows(doomed.number)
        assert left["results"] == max(0, _TOTAL - committed * _AT_ONCE)
        noted = doomed.database_rows("SELECT removed FROM removals")
        if committed < BLOCKS[what]:
            removed = sum(doomed.before[table] - left[table] for table in _COUNTED)
            assert noted == [(removed,)]
        else:
            assert not noted
        counters = "SELECT sent, failed FROM {} WHERE campaign = ?"
        table = "deleted_campaigns" if what == "campaign" else "campaigns"
        kept = doomed.database_rows(counters.format(table), doomed.number)
        assert kept == [(_TOTAL - 1, 1)], "counters stay"
        doomed.check_others()
        await doomed.go_on()
        left = doomed.rows(doomed.number)
        assert not left["results"]
        assert not left["failure_groups"]
        assert not any(left.values()) or what == "results"
        doomed.check_others()
        ends = int(committed < BLOCKS[what])  # else the killed one had ended it
        # What is gone is logged behind the commit.
        await until(lambda: len(doomed.service.events(f"{what}_removed")) >= ends)  # noqa: B023
        assert len(doomed.service.events(f"{what}_removed")) == ends, "logged by whoever ends it"
        await doomed.end()


async def test_s7_a_kill_at_any_step_of_a_delete(database: Database, tmp_path: Path) -> None:
    """It is deleted or it is as it was, and a repetition deletes it once."""
    for step in DELETING:
        point = Failpoint(Fault.KILL, When.AFTER, step)
        doomed = await asyncio.to_thread(Doomed, database, tmp_path / step.replace(" ", "-"))
        await doomed.prepare()
        assert not await doomed.delete(str(point))
        await doomed.died(point)
        found = doomed.database_rows("SELECT campaign_id FROM deleted_campaigns")
        assert ((doomed.name,) in found) == point.is_committed
        if not point.is_committed:
            assert doomed.rows(doomed.number) == doomed.before
            assert not doomed.database_rows("SELECT * FROM removals")
        doomed.check_others()
        await doomed.go_on()
        async with StatusClient(doomed.service.address) as client:
            again = await client.delete_campaign(campaign_id=doomed.name, reason=str(point))
            assert again.deleted != point.is_committed
            with pytest.raises(NotFoundError):
                await client.get_campaign(campaign_id=doomed.name)
        await until(lambda: not any(doomed.rows(doomed.number).values()))  # noqa: B023
        doomed.check_others()
        await doomed.end()


async def test_the_steps_of_a_delete_are_all_attacked(database: Database, tmp_path: Path) -> None:
    """A statement that is added to it is killed at as well."""
    doomed = await asyncio.to_thread(Doomed, database, tmp_path / "a")
    await doomed.prepare()
    assert await doomed.delete(TRACE)
    traced = [line.removeprefix(f"{TRACE} ") for line in fired(doomed.service.folder)]
    assert tuple(dict.fromkeys(traced)) == DELETING
    await doomed.end()
