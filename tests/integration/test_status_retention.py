"""Campaigns are deleted, and what is kept no longer is removed, on each kind of database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from closeout.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
)
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import (
    FAILED,
    SENT,
    Status,
    eventually,
    reporting,
    results,
    serving,
)
from service_runtime.database import Store
from status_service.migrations import MIGRATIONS
from status_service.retention import removal, sweeper
from status_service.retention.meter import RetentionMeter
from status_service.retention.removal import Expiry
from status_service.retention.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from integration.databases import Database

_TABLES = ("results", "events", "transitions", "samples", "failure_groups", "campaign_labels")
_ADDRESS = "ann@example.com"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a service look often for something to remove."""
    monkeypatch.setattr(sweeper, "LOOK_SECONDS", 0.05)


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    """A status service that keeps everything."""
    async with serving(database) as running:
        yield running


async def ended(status: Status, name: str, total: int = 3, **fields: Any) -> None:
    """Make a campaign that has ended, with a failure and SENT results."""
    await status.client.create_campaign(campaign_id=name, labels={"list": name})
    await status.client.start_campaign(campaign_id=name, total=total)
    await status.report(
        name,
        *results(range(1, total), SENT),
        *results([total], FAILED, code="550", detail=f"no such user <{_ADDRESS}>"),
        **fields,
    )


async def gone(status: Status) -> None:
    """Wait until nothing is to be removed."""

    async def look() -> bool:
        return not status.execute("SELECT * FROM removals")

    await eventually(look, what="nothing left to remove")


def counts(status: Status, number: int) -> dict[str, int]:
    """Return how many rows there are of a campaign, by table."""
    return {
        table: status.execute(f"SELECT count(*) FROM {table} WHERE campaign = ?", number)[0][0]  # noqa: S608
        for table in _TABLES
    }


def number_of(status: Status, name: str) -> int:
    """Return the number of a campaign."""
    ((number,),) = status.execute("SELECT campaign FROM campaigns WHERE campaign_id = ?", name)
    return int(number)


async def test_a_deleted_campaign_is_gone_and_its_id_stays_taken(status: Status) -> None:
    """Nobody finds it at once, its rows follow, and who deleted what is kept; others stay."""
    await ended(status, "a")
    await ended(status, "b")
    first, other = number_of(status, "a"), number_of(status, "b")
    before = counts(status, other)
    with capture_logs() as logged:
        answer = await status.client.delete_campaign(campaign_id="a", reason="asked to")
        assert (answer.deleted, answer.results, answer.state) == (True, 3, pb.Campaign.COMPLETED)
        for call in (
            status.client.get_campaign(campaign_id="a"),
            status.client.pause_campaign(campaign_id="a"),
            status.client.explain_campaign(campaign_id="a"),
            status.client.start_campaign(campaign_id="a", total=3),
        ):
            with pytest.raises(NotFoundError) as caught:
                await call
            assert caught.value.reason == "CAMPAIGN_DELETED"
            assert caught.value.metadata["actor"] == answer_actor(status)
        with pytest.raises(AlreadyExistsError):
            await status.client.create_campaign(campaign_id="a")

        async def removed() -> bool:
            return any(line["event"] == "campaign_removed" for line in logged)

        await eventually(removed, what="a line in the log")
    assert not status.execute("SELECT * FROM removals")
    assert not any(counts(status, first).values())
    assert counts(status, other) == before
    listed = [campaign.campaign_id async for campaign in status.client.list_campaigns()]
    assert listed == ["b"]
    ((reason, sent, failed),) = status.execute("SELECT reason, sent, failed FROM deleted_campaigns")
    assert (reason, sent, failed) == ("asked to", 2, 1)
    lines = [line for line in logged if line["event"] in {"campaign_deleted", "campaign_removed"}]
    assert [line["campaign_id"] for line in lines] == ["a", "a"]
    assert lines[1]["rows"] >= 3
    again = await status.client.delete_campaign(campaign_id="a")
    assert (again.deleted, again.results) == (False, 3)
    assert again.delete_time == answer.delete_time
    status.check_invariants()


def answer_actor(status: Status) -> str:
    """Return who deleted the campaign, as the record has it."""
    ((actor,),) = status.execute("SELECT actor FROM deleted_campaigns")
    return str(actor)


async def test_only_what_has_ended_is_deleted_and_only_as_it_was_read(status: Status) -> None:
    """An open campaign, another revision and a dry run change nothing; an unknown id is none."""
    await status.start("open", 2)
    with pytest.raises(FailedPreconditionError) as open_still:
        await status.client.delete_campaign(campaign_id="open")
    assert open_still.value.reason == "CAMPAIGN_NOT_ENDED"
    assert open_still.value.metadata["state"] == "SENDING"
    await ended(status, "a")
    campaign = await status.client.get_campaign(campaign_id="a")
    with pytest.raises(AbortedError):
        await status.client.delete_campaign(campaign_id="a", revision=campaign.revision + 1)
    would = await status.client.delete_campaign(campaign_id="a", dry_run=True)
    assert would.deleted
    assert not would.HasField("delete_time")
    assert await status.client.get_campaign(campaign_id="a") == campaign
    with pytest.raises(NotFoundError) as unknown:
        await status.client.delete_campaign(campaign_id="never")
    assert unknown.value.reason == "CAMPAIGN_NOT_FOUND"
    await status.client.delete_campaign(campaign_id="a", revision=campaign.revision)


async def test_late_results_of_a_deleted_campaign_are_refused_with_the_reason(
    status: Status,
) -> None:
    """On a stream that knew it, on a new one and in a batch: nothing comes back by them."""
    await ended(status, "a")
    async with reporting(status.client) as stream:
        await stream.send("a", *results([1]))
        await stream.acked(1)
        await status.client.delete_campaign(campaign_id="a")
        await stream.send("a", *results([1]))
        await stream.send("a")
        await stream.acked(3)
        assert stream.rejections == [(frame, "a", "CAMPAIGN_DELETED") for frame in (2, 3)]
        await gone(status)
        await stream.send("a", *results([3]))
        await stream.acked(4)
        assert len(stream.rejections) == 3
    with pytest.raises(NotFoundError) as caught:
        await status.client.report(results([1]), campaign_id="a")
    assert caught.value.reason == "CAMPAIGN_DELETED"
    assert not status.execute("SELECT * FROM results")
    assert not status.execute("SELECT * FROM campaigns WHERE organisation = 'default'")


async def test_results_kept_no_longer_are_said_to_be_so(database: Database) -> None:
    """Counters, state and audit trail stay; lists say RESULTS_REMOVED, and nothing is missing."""
    async with serving(database, results_keep_days=1, events_keep_days=2) as status:
        await ended(status, "old")
        await ended(status, "new")
        old, new = number_of(status, "old"), number_of(status, "new")
        status.execute("UPDATE campaigns SET end_time = 0 WHERE campaign = ?", old)
        kept = counts(status, new)

        async def removed() -> bool:
            campaign = await status.client.get_campaign(campaign_id="old")
            found = counts(status, old)
            return campaign.HasField("results_remove_time") and not found["results"]

        await eventually(removed, what="results removed")
        await gone(status)
        campaign = await status.client.get_campaign(campaign_id="old")
        assert (campaign.sent, campaign.failed, campaign.pending) == (2, 1, 0)
        trail = [one async for one in status.client.list_transitions(campaign_id="old")]
        assert [one.to_state for one in trail][-1] == pb.Campaign.COMPLETED
        for pages in (
            status.client.list_results(campaign_id="old"),
            status.client.list_missing_ranges(campaign_id="old"),
        ):
            with pytest.raises(FailedPreconditionError) as caught:
                _ = [one async for one in pages]
            assert caught.value.reason == "RESULTS_REMOVED"
        with pytest.raises(FailedPreconditionError):
            await status.client.list_failures(campaign_id="old")
        explained = await status.client.explain_campaign(campaign_id="old")
        assert not explained.missing_ranges
        with pytest.raises(FailedPreconditionError) as late:
            await status.client.report(results([3]), campaign_id="old")
        assert late.value.reason == "RESULTS_REMOVED"
        assert (await status.client.get_campaign(campaign_id="old")).sent == 2
        # The newest event of the database may stay.
        assert counts(status, old)["events"] == 0
        assert counts(status, new) == kept


async def test_a_cancelled_campaign_misses_nothing_once_its_results_are_gone(
    database: Database,
) -> None:
    """Its messages without a result are not counted from what is left."""
    async with serving(database, results_keep_days=1) as status:
        await status.start("a", 5)
        await status.report("a", *results([1, 2]))
        await status.client.cancel_campaign(campaign_id="a")
        status.execute("UPDATE campaigns SET end_time = 0")

        async def removed() -> bool:
            return not status.execute("SELECT * FROM results")

        await eventually(removed, what="results removed")
        explained = await status.client.explain_campaign(campaign_id="a")
        assert (list(explained.missing_ranges), explained.more_missing_ranges) == ([], False)
        campaign = await status.client.get_campaign(campaign_id="a")
        assert (campaign.sent, campaign.pending) == (2, 3)


class Steps:
    """A store on the database of a stopped service, and sweepers over it."""

    def __init__(self, database: Database) -> None:
        self.store = Store(database.url, MIGRATIONS, holder="test")
        self.deleted_rows: list[int] = []
        event.listen(self.store._engines.writer, "after_cursor_execute", self._note)

    def _note(self, *call: Any) -> None:
        if call[2].startswith("DELETE FROM"):
            self.deleted_rows.append(call[1].rowcount)

    def sweeper(self, expiry: Expiry = Expiry()) -> Sweeper:  # noqa: B008 - frozen
        """Return an instance of its own."""
        return Sweeper(self.store, expiry, RetentionMeter(), look_seconds=0.01)


async def test_b1_removal_goes_in_small_transactions_and_on_after_a_crash(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one removes a bounded number of rows; a new process goes on where one was killed."""
    monkeypatch.setattr(removal, "RESULTS_AT_ONCE", 10)
    async with serving(database) as status:
        await ended(status, "a", total=100)
        await ended(status, "b", total=10)
        number = number_of(status, "a")
    with database.by_hand() as connection:
        connection.execute("INSERT INTO removals (campaign, what) VALUES (?, 'results')", (number,))
    steps = Steps(database)
    try:
        killed = steps.sweeper()
        for _ in range(4):
            assert await killed.sweep()
        assert steps.deleted_rows == [10] * 4
        with database.by_hand() as connection:
            ((position, removed),) = connection.execute("SELECT position, removed FROM removals")
        assert (position, removed) == (40, 40)
        # Its duty has not ended; whoever comes after it takes nothing from it.
        other = steps.sweeper()
        if steps.store.listen is not None:
            assert not await other.sweep()
            with database.by_hand() as connection:
                connection.execute("UPDATE duties SET until_time = 0")
        with capture_logs() as logged:
            while await other.sweep():
                assert max(steps.deleted_rows) <= 10
        assert [(line["event"], line["rows"]) for line in logged] == [("results_removed", 101)]
        assert sum(steps.deleted_rows[:10]) == 100
    finally:
        steps.store.close()


async def test_b3_nothing_to_remove_is_found_without_a_look_at_what_has_ended(
    database: Database,
) -> None:
    """An idle look writes nothing, and uses the indexes of what is kept for a time."""
    async with serving(database) as status:
        await ended(status, "a")
    steps = Steps(database)
    try:
        statements: list[str] = []

        def note(*call: Any) -> None:
            statements.append(call[2])

        event.listen(steps.store._engines.reader, "after_cursor_execute", note)
        event.listen(steps.store._engines.writer, "after_cursor_execute", note)
        expiry = Expiry(results=timedelta(days=1), events=timedelta(days=1))
        assert not await steps.sweeper(expiry).sweep()
        assert not any(line.startswith(("INSERT", "UPDATE", "DELETE")) for line in statements)
        assert len(statements) < 10
    finally:
        steps.store.close()


async def test_an_address_is_erased_from_results_and_counted(status: Status) -> None:
    """A dry run counts the same; longer addresses that have it in them are left alone."""
    await ended(status, "a")
    await ended(status, "b")
    await status.start("c", 2)
    await status.report(
        "c",
        *results([1], FAILED, code="550", detail="<joann@example.com> and ann@example.com.uk"),
        *results([2], FAILED, code="550", detail=f"<{_ADDRESS.upper()}>, {_ADDRESS}"),
    )
    would = await status.client.erase_address(address=_ADDRESS, dry_run=True)
    assert (would.results, would.failure_groups) == (3, 2)
    assert status.execute("SELECT * FROM results WHERE detail LIKE '%<ann@%'")
    with capture_logs() as logged:
        did = await status.client.erase_address(address=_ADDRESS)
    assert (did.results, did.failure_groups) == (3, 2)
    details = [row[0] for row in status.execute("SELECT detail FROM results WHERE detail <> ''")]
    assert sorted(details) == [
        "<[erased]>, [erased]",
        "<joann@example.com> and ann@example.com.uk",
        "no such user <[erased]>",
        "no such user <[erased]>",
    ]
    assert (await status.client.erase_address(address=_ADDRESS)).results == 0
    lines = [line for line in logged if line["event"] == "address_erased"]
    assert [line["results"] for line in lines] == [3]
    assert _ADDRESS not in str(lines)
