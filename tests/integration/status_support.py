"""The status service in the process of the test, its database by hand, and what must hold in it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pysqlite3 import dbapi2

from closeout.aio import StatusClient
from closeout.aio.channel import open_channel
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1.status_pb2_grpc import StatusServiceStub
from integration.databases import PATIENCE_SECONDS, Database, Hand, SqliteDatabase
from integration.migrated import make_file
from providers.pauses import pauses
from status_service.access.key_access import AccessLimits
from status_service.domain import ALLOWED, State
from status_service.migrations import MIGRATIONS
from status_service.server import running
from status_service.settings import Settings, StatusSettings

SENT, FAILED, SKIPPED, UNKNOWN = (
    pb.Result.SENT,
    pb.Result.FAILED,
    pb.Result.SKIPPED,
    pb.Result.UNKNOWN,
)
_DEFAULT_LIMITS = AccessLimits()


def _database_of(place: Database | Path) -> Database:
    return SqliteDatabase(place / "status.db") if isinstance(place, Path) else place


def status_settings(place: Database | Path, **changed: Any) -> Settings:
    """Return settings of a service on any free port with this database, or a file in a folder."""
    database = _database_of(place)
    values = {
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "database_url": database.url,
    }
    return Settings(status=StatusSettings(**(values | {"grace_seconds": 2.0} | changed)))


def by_hand(folder: Path) -> AbstractContextManager[dbapi2.Connection]:
    """Open the SQLite file of a service in ``folder`` by hand; commit at the end."""
    return SqliteDatabase(folder / "status.db").by_hand()


@dataclass
class Status:
    """A status service in this process, and ways to call it."""

    database: Database
    address: str
    http_address: str
    client: StatusClient
    stub: Any
    #: Where it serves HTTP, as in ``http://127.0.0.1:4711``.
    url: str
    #: (campaign, sequence) of results that may be better than at the completion.
    raised_late: Collection[tuple[str, int]] = ()

    def check_invariants(self, **options: Any) -> None:
        """Check what must hold in its database: :func:`check_invariants`."""
        options.setdefault("raised_late", self.raised_late)
        with self.database.by_hand() as connection:
            check_invariants(connection, **options)

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Run one statement in its database by hand; return the rows."""
        with self.database.by_hand() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    async def start(self, campaign_id: str, total: int) -> None:
        """Create and start a campaign."""
        await self.client.create_campaign(campaign_id=campaign_id)
        await self.client.start_campaign(campaign_id=campaign_id, total=total)

    async def report(self, campaign_id: str, *results: pb.Result, reporter: str = "tester") -> None:
        """Report results in one frame of a stream of their own; they are stored when it returns."""
        async with reporting(self.client) as stream:
            await stream.send(campaign_id, *results, reporter=reporter)
            await stream.acked(1)
            assert not stream.rejections

    async def stuck(self, campaign_id: str, total: int = 3) -> None:
        """Make a campaign that is open although every message has a result, by hand.

        The audit trail does not have its completion, as if that had never happened.
        """
        await self.start(campaign_id, total)
        await self.report(campaign_id, *results(range(1, total + 1)))
        self.reopen(campaign_id)
        with self.database.by_hand() as connection:
            (row,) = connection.execute(
                "SELECT transition FROM transitions JOIN campaigns USING (campaign)"
                " WHERE campaign_id = ? AND to_state = 'COMPLETED'",
                (campaign_id,),
            )
            for table in ("events", "transitions"):
                connection.execute(f"DELETE FROM {table} WHERE transition = ?", tuple(row))  # noqa: S608

    def reopen(self, campaign_id: str) -> None:
        """Set a completed campaign back to SENDING by hand, and leave its audit trail alone."""
        self.execute(
            "UPDATE campaigns SET state = 'SENDING', complete_time = NULL WHERE campaign_id = ?",
            campaign_id,
        )


@asynccontextmanager
async def serving(
    place: Database | Path, *, limits: AccessLimits = _DEFAULT_LIMITS, **changed: Any
) -> AsyncIterator[Status]:
    """Serve from a database, or from a file in a folder, in this process."""
    database = _database_of(place)
    if isinstance(database, SqliteDatabase):
        make_file(database.path, MIGRATIONS)
    async with (
        running(status_settings(database, **changed), limits=limits) as service,
        open_channel(service.address) as channel,
    ):
        yield Status(
            database,
            service.address,
            service.http_address,
            StatusClient(channel),
            StatusServiceStub(channel),
            f"{service.http_scheme}://{service.http_address}",
        )


def results(
    sequences: Iterable[int], outcome: pb.Result.Outcome.ValueType = SENT, **fields: Any
) -> list[pb.Result]:
    """Return a result of ``outcome`` for each of ``sequences``."""
    return [pb.Result(sequence=number, outcome=outcome, **fields) for number in sequences]


class Stream:
    """A client's side of one ReportResults call, which keeps all that it was answered."""

    def __init__(self, client: StatusClient) -> None:
        self.call = client.report_results()
        self.responses: list[pb.ReportResultsResponse] = []
        self._next_frame = 1
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for response in self.call:
                self.responses.append(response)
                self._news.set()
        finally:
            self._news.set()

    async def send(
        self,
        campaign_id: str,
        *rows: pb.Result,
        frame: int = 0,
        reporter: str = "tester",
        problems: Iterable[pb.Problem] | None = None,
    ) -> int:
        """Send the next frame, or one numbered ``frame``; return its number."""
        number = frame or self._next_frame
        self._next_frame = max(self._next_frame, number + 1)
        await self.call.write(
            pb.ReportResultsRequest(
                frame=number,
                campaign_id=campaign_id,
                results=rows,
                reporter=reporter,
                problems=None if problems is None else pb.CampaignProblems(problems=problems),
            )
        )
        return number

    async def until(self, true: Callable[[], object]) -> None:
        """Read answers until ``true()``; fail if the stream ends or nothing comes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not true():
                assert not self._reader.done(), f"ended: {await self.status()}"
                await self._news.wait()
                self._news.clear()

    async def acked(self, frame: int) -> None:
        """Wait for the acknowledgement of a frame."""
        await self.until(lambda: self.acked_through >= frame)

    async def announced(self, campaign_id: str, state: pb.Campaign.State.ValueType) -> None:
        """Wait until the last state of a campaign that the stream received is this one."""
        await self.until(lambda: self.states.get(campaign_id) == state)

    async def status(self) -> grpc.aio.AioRpcError | None:
        """Wait for the end; return how it failed, or None if it did not."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                await self._reader
            except grpc.aio.AioRpcError as error:
                return error
        return None

    @property
    def acked_through(self) -> int:
        """The highest frame acknowledged."""
        return self.responses[-1].acked_through if self.responses else 0

    @property
    def rejections(self) -> list[tuple[int, str, str]]:
        """(frame, campaign, reason) of what was rejected."""
        return [
            (rejection.frame, rejection.campaign_id, rejection.rejection.reason)
            for response in self.responses
            for rejection in response.rejections
        ]

    @property
    def states(self) -> dict[str, pb.Campaign.State.ValueType]:
        """The state of each campaign as it was received last."""
        return {
            received.campaign_id: received.state
            for response in self.responses
            for received in response.campaign_states
        }

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many results were new, raised and duplicate."""
        return (
            sum(response.new_results for response in self.responses),
            sum(response.raised_results for response in self.responses),
            sum(response.duplicate_results for response in self.responses),
        )

    async def close(self) -> None:
        """Leave no call and no task behind."""
        self.call.cancel()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


@asynccontextmanager
async def reporting(client: StatusClient) -> AsyncIterator[Stream]:
    """Open a stream of results."""
    stream = Stream(client)
    try:
        yield stream
    finally:
        await stream.close()


def without_pace(campaign: pb.Campaign) -> pb.Campaign:
    """Return a campaign without what GetCampaign says of its last minutes.

    Its pace appears ten seconds after its start, which a slow machine may need for a test.
    """
    same = pb.Campaign()
    same.CopyFrom(campaign)
    same.ClearField("results_per_minute")
    same.ClearField("time_left")
    return same


async def eventually(true: Callable[[], Awaitable[object]], *, what: str) -> None:
    """Return once ``await true()`` is; fail with ``what`` after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for pause in pauses():
        if await true():
            return
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
        await asyncio.sleep(pause)


def check_invariants(
    connection: Hand,
    *,
    raised_late: Collection[tuple[str, int]] = (),
    broken: Collection[str] = (),
    organisation: str | None = None,
) -> None:
    """Check S1, S3, S4, S5 and S6 of every campaign in a database, and that problems end with it.

    The groups of its results by code are checked with S1.

    Args:
        connection: to the database, by hand.
        raised_late: (campaign, sequence) of results that got a better outcome after
            their campaign had completed: they alone may be younger than that.
        broken: campaigns that were changed by hand and not repaired yet; not checked.
        organisation: check the campaigns of this one only.
    """
    if isinstance(connection, dbapi2.Connection):
        connection.row_factory = dbapi2.Row
    for campaign in connection.execute("SELECT * FROM campaigns").fetchall():
        foreign = organisation not in {None, campaign["organisation"]}
        if not foreign and campaign["campaign_id"] not in broken:
            _check_counters(connection, campaign)
            _check_groups(connection, campaign)
            _check_transitions(connection, campaign)
            _check_completion(connection, campaign, raised_late)
            has_ended = campaign["state"] in {"COMPLETED", "CANCELLED"}
            assert not has_ended or campaign["problems"] == "[]", f"problems: {dict(campaign)}"


def _check_counters(connection: Hand, campaign: Any) -> None:
    rows = dict(
        connection.execute(
            "SELECT outcome, count(*) FROM results WHERE campaign = ? GROUP BY outcome",
            (campaign["campaign"],),
        ).fetchall()
    )
    counters = [campaign[name] for name in ("unknown", "skipped", "failed", "sent")]
    counted = [rows.get(outcome, 0) for outcome in (1, 2, 3, 4)]
    assert counters == counted, f"S1: {dict(campaign)} but counted {counted}"
    assert sum(counters) <= (campaign["total"] or 0), f"S1: {dict(campaign)}"


def _check_groups(connection: Hand, campaign: Any) -> None:
    """Check that groups count each code's results, and add up; the rest has what has none."""
    counted = {
        (row["outcome"], row["code"]): row["rows"]
        for row in connection.execute(
            "SELECT outcome, code, count(*) AS rows FROM results"
            " WHERE campaign = ? AND outcome < 4 GROUP BY outcome, code",
            (campaign["campaign"],),
        ).fetchall()
    }
    stored = connection.execute(
        "SELECT * FROM failure_groups WHERE campaign = ?", (campaign["campaign"],)
    ).fetchall()
    named = {(row["outcome"], row["code"]): row for row in stored if not row["is_rest"]}
    for outcome, name in enumerate(("unknown", "skipped", "failed"), start=1):
        groups = [row for row in stored if row["outcome"] == outcome]
        in_groups = sum(row["number"] for row in groups)
        assert in_groups == campaign[name], f"S1: {list(map(dict, groups))} of {dict(campaign)}"
        assert sum(not row["is_rest"] for row in groups) <= 50, "more codes than are kept"
    for key, row in named.items():
        assert counted.get(key, 0) == row["number"], f"S1: {dict(row)} but counted {counted}"
    for row in stored:
        examples = json.loads(row["examples"])
        assert len(examples) <= min(3, row["number"]), dict(row)
        for sequence in examples:
            (result,) = connection.execute(
                "SELECT outcome, code FROM results WHERE campaign = ? AND sequence = ?",
                (campaign["campaign"], sequence),
            ).fetchall()
            assert result["outcome"] == row["outcome"], dict(row)
            assert row["is_rest"] or result["code"] == row["code"], dict(row)


def _check_transitions(connection: Hand, campaign: Any) -> None:
    trail = connection.execute(
        "SELECT from_state, to_state, count(event_id) AS events, min(kind) AS kind FROM transitions"
        " LEFT JOIN events USING (transition) WHERE transitions.campaign = ?"
        " GROUP BY transitions.transition ORDER BY transitions.transition",
        (campaign["campaign"],),
    ).fetchall()
    before = None
    for step in trail:
        assert step["from_state"] == before, f"S6: {list(map(tuple, trail))}"
        assert step["events"] == 1, f"S4: {list(map(tuple, trail))}"
        assert step["kind"] == f"campaign.{step['to_state'].lower()}", list(map(tuple, trail))
        if before is not None:
            assert (State(before), State(step["to_state"])) in ALLOWED, list(map(tuple, trail))
        before = step["to_state"]
    assert before == campaign["state"], f"S6: {list(map(tuple, trail))} of {dict(campaign)}"
    completions = [step for step in trail if step["to_state"] == "COMPLETED"]
    assert len(completions) == (campaign["state"] == "COMPLETED"), "S4: completed once"


def _check_completion(
    connection: Hand, campaign: Any, raised_late: Collection[tuple[str, int]]
) -> None:
    if campaign["state"] != "COMPLETED":
        assert campaign["complete_time"] is None, f"S5: {dict(campaign)}"
        open_and_full = campaign["state"] in {"SENDING", "PAUSED"} and campaign["total"] == sum(
            campaign[name] for name in ("sent", "failed", "skipped", "unknown")
        )
        assert not open_and_full, f"L1: {dict(campaign)} is full and open"
        return
    rows = connection.execute(
        "SELECT sequence, record_time FROM results WHERE campaign = ? ORDER BY sequence",
        (campaign["campaign"],),
    ).fetchall()
    assert [row["sequence"] for row in rows] == list(range(1, campaign["total"] + 1)), "S3"
    for row in rows:
        if (campaign["campaign_id"], row["sequence"]) not in raised_late:
            assert row["record_time"] <= campaign["complete_time"], f"S5: {tuple(row)}"
