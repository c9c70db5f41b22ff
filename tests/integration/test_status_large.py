"""B1: what large campaigns need is counted on snapshots and written in blocks.

A campaign counts as large from its first message on here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from closeout.errors import FailedPreconditionError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.status_support import (
    FAILED,
    SENT,
    UNKNOWN,
    Status,
    eventually,
    reporting,
    results,
    serving,
)
from service_runtime.caller import Caller
from service_runtime.database import Store
from status_service.campaigns import mark_complete
from status_service.campaigns.service import CampaignService
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.migrations import MIGRATIONS
from status_service.recording import counting, result_rows
from status_service.recording.notifier import Notifier
from status_service.recording.types import Change

SENDING, COMPLETED, CANCELLED = pb.Campaign.SENDING, pb.Campaign.COMPLETED, pb.Campaign.CANCELLED


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_UNDER_LOCK", 0)
    monkeypatch.setattr(mark_complete, "BLOCK", 4)


class _Gate:
    """Lets the counts of a service begin, and holds them before or after they are made."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    async def reached(self) -> None:
        """Wait until a count has begun."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=20)


@contextmanager
def _held_counts(monkeypatch: pytest.MonkeyPatch, *, after: bool = False) -> Iterator[_Gate]:
    gate = _Gate()
    count = result_rows.count

    def held(*arguments: Any) -> Any:
        counted = count(*arguments) if after else None
        gate.begun.release()
        assert gate.go.wait(20)
        return counted or count(*arguments)

    monkeypatch.setattr(result_rows, "count", held)
    try:
        yield gate
    finally:
        gate.go.set()
        monkeypatch.setattr(result_rows, "count", count)


async def _campaign(status: Status, campaign_id: str = "a") -> pb.Campaign:
    return await status.client.get_campaign(campaign_id=campaign_id)


async def test_b1_a_completion_holds_up_nobody_while_it_is_counted(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of other campaigns are acknowledged; the last result completes in its commit."""
    await status.start("a", 3)
    await status.start("b", 3)
    await status.report("a", *results([1, 2]))
    with _held_counts(monkeypatch) as gate:
        last = asyncio.create_task(status.report("a", *results([3])))
        await gate.reached()
        await status.report("b", *results([1, 2]))
        assert (await _campaign(status)).processed == 2
        assert not last.done()
    await last
    assert (await _campaign(status)).state == COMPLETED
    status.check_invariants()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_s3_results_that_come_while_it_is_counted_count(
    status: Status, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """A result raised between the count and the commit is in the counters of the end."""
    await status.start("a", 3)
    await status.report("a", *results([1, 2], FAILED))
    with _held_counts(monkeypatch, after=after) as gate:
        last = asyncio.create_task(status.report("a", *results([3])))
        await gate.reached()
        await status.report("a", *results([1]))
    await last
    campaign = await _campaign(status)
    assert (campaign.state, campaign.sent, campaign.failed) == (COMPLETED, 2, 1)
    status.check_invariants()


@pytest.mark.parametrize("sent", [3, 4, 1])
async def test_s3_a_wrong_counter_completes_nothing(status: Status, sent: int) -> None:
    """Counters changed by hand are counted again by the results that seem to be the last."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2]), *results([3], FAILED))
    status.execute("UPDATE campaigns SET sent = ?", sent)
    await status.report("a", *results([4]))
    campaign = await _campaign(status)
    assert (campaign.state, campaign.processed) == (SENDING, 4 if sent > 1 else 3)
    await status.report("a", *results([5]))
    if sent == 1:  # too low: nothing seems to be the last
        await status.client.repair_campaigns()
    campaign = await _campaign(status)
    assert (campaign.state, campaign.sent, campaign.failed) == (COMPLETED, 4, 1)
    status.check_invariants()


async def test_s3_a_counter_changed_while_it_is_counted_completes_nothing(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count holds for the counters it was compared with, and for no others."""
    await status.start("a", 3)
    await status.report("a", *results([1]))
    status.execute("UPDATE campaigns SET sent = 2")
    with _held_counts(monkeypatch, after=True) as gate:
        call = asyncio.create_task(status.report("a", *results([3])))
        await gate.reached()
        status.execute("UPDATE campaigns SET sent = 0, failed = 2")
    await call
    campaign = await _campaign(status)
    assert (campaign.state, campaign.sent, campaign.failed) == (SENDING, 2, 0)
    await status.report("a", *results([2]))
    assert (await _campaign(status)).state == COMPLETED
    status.check_invariants()


async def test_s1_the_groups_of_results_follow_a_count(status: Status) -> None:
    """Where the counters were wrong, the results by code are those that were counted."""
    await status.start("a", 4)
    await status.report("a", *results([1, 2], FAILED), *results([3]))
    status.execute("DELETE FROM results WHERE sequence = 1")
    await status.report("a", *results([4]))
    assert (await _campaign(status)).processed == 3
    await status.report("a", *results([1]))
    groups = await status.client.list_failures(campaign_id="a")
    assert [(group.outcome, group.results) for group in groups] == [(FAILED, 1)]
    assert (await _campaign(status)).state == COMPLETED
    status.check_invariants()


async def test_s4_last_results_on_many_streams_complete_once(status: Status) -> None:
    """Frames that wait for one count are recorded together, whatever they repeat."""
    await status.start("a", 40)
    await status.report("a", *results(range(1, 39)))
    async with reporting(status.client) as one, reporting(status.client) as two:
        for stream in (one, two):
            await stream.send("a", *results([39]))
            await stream.send("a", *results([40]))
            await stream.send("a", *results([39, 40]))
        for stream in (one, two):
            await stream.acked(3)
    assert (await _campaign(status)).state == COMPLETED
    status.check_invariants()


async def test_b1_a_scheduled_campaign_that_is_full_completes_when_it_is_due(
    status: Status,
) -> None:
    """Its results are counted before it starts, outside the write lock."""
    await status.client.create_campaign(campaign_id="a")
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await status.client.start_campaign(campaign_id="a", total=2, start_time=soon)
    await status.report("a", *results([1, 2]))

    async def is_completed() -> bool:
        return bool((await _campaign(status)).state == COMPLETED)

    await eventually(is_completed, what="it starts, and is complete")
    status.check_invariants()


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens after each block of a completion by force, one after the other."""
    acts: list[Callable[[], None]] = []
    publish = Notifier.publish

    def published(notifier: Notifier, changes: Sequence[Change]) -> None:
        publish(notifier, changes)
        if acts and any(change.counters.unknown for change in changes):
            acts.pop(0)()

    monkeypatch.setattr(Notifier, "publish", published)
    return acts


async def test_b1_force_records_what_is_missing_in_blocks(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction has more than a block, the rows are those that were missing."""
    sizes: list[int] = []
    fill = result_rows.fill

    def filled(*arguments: Any, **options: Any) -> int:
        sizes.append(fill(*arguments, **options))
        return sizes[-1]

    monkeypatch.setattr(result_rows, "fill", filled)
    await status.start("a", 20)
    await status.report("a", *results([1, 2, 5, 12, 20]), *results([7], FAILED))
    answer = await status.client.mark_complete(campaign_id="a", force=True, reason="gone")
    assert (answer.transitioned, answer.campaign.unknown) == (True, 14)
    assert sizes == [4, 4, 4, 2]
    rows = [row async for row in status.client.list_results(campaign_id="a")]
    assert [row.sequence for row in rows if row.code == "forced"] == [
        row.sequence for row in rows if row.outcome == UNKNOWN
    ]
    groups = await status.client.list_failures(campaign_id="a")
    assert [(group.outcome, group.code, group.results) for group in groups] == [
        (FAILED, "", 1),
        (UNKNOWN, "forced", 14),
    ]
    explained = await status.client.explain_campaign(campaign_id="a")
    assert "14 messages without a result were recorded as UNKNOWN" in explained.explanation
    status.check_invariants()


async def test_b1_force_is_decided_by_the_results_and_not_by_counters(status: Status) -> None:
    """Counters changed by hand before a completion by force are right after it."""
    await status.start("a", 20)
    await status.report("a", *results([1, 2, 5]))
    status.execute("UPDATE campaigns SET sent = 11, failed = 7")
    answer = await status.client.mark_complete(campaign_id="a", force=True, reason="gone")
    campaign = answer.campaign
    assert (campaign.state, campaign.sent, campaign.failed, campaign.unknown) == (
        COMPLETED,
        3,
        0,
        17,
    )
    status.check_invariants()


async def test_s14_results_between_the_blocks_are_kept(
    status: Status, blocks: list[Callable[[], None]]
) -> None:
    """A result that comes between two blocks stays, also where it is stored after the last."""
    status.raised_late = {("a", sequence) for sequence in (1, 28, 29, 30)}
    reports = []

    def report(*numbers: int) -> Callable[[], None]:
        return lambda: reports.append(asyncio.create_task(status.report("a", *results(numbers))))

    await status.start("a", 30)
    blocks.extend([report(30), report(1, 29), report(28)])
    await status.client.mark_complete(campaign_id="a", force=True, reason="gone")
    await asyncio.gather(*reports)
    campaign = await _campaign(status)
    assert (campaign.state, campaign.unknown) == (COMPLETED, 26)
    stored = [row async for row in status.client.list_results(campaign_id="a", outcomes=[SENT])]
    assert [row.sequence for row in stored] == [1, 28, 29, 30]


async def test_s6_a_cancel_between_the_blocks_ends_it(
    status: Status, blocks: list[Callable[[], None]]
) -> None:
    """The call is refused, and what was recorded stays counted, also by a call that goes on."""
    await status.start("a", 30)
    blocks.append(
        lambda: status.execute("UPDATE campaigns SET state = 'CANCELLED', revision = revision + 1")
    )
    with pytest.raises(FailedPreconditionError) as caught:
        await status.client.mark_complete(campaign_id="a", force=True, reason="gone")
    assert caught.value.reason == "CAMPAIGN_NOT_SENDING"
    campaign = await _campaign(status)
    assert (campaign.state, campaign.unknown) == (CANCELLED, 4)
    status.execute("UPDATE campaigns SET state = 'SENDING', revision = revision + 1")
    assert (await status.client.mark_complete(campaign_id="a", force=True, reason="x")).transitioned
    explained = await status.client.explain_campaign(campaign_id="a")
    assert "30 messages without a result were recorded as UNKNOWN" in explained.explanation


async def test_s14_two_completions_by_force_at_once_complete_once(status: Status) -> None:
    """Both end; one of them completed it."""
    await status.start("a", 60)
    answers = await asyncio.gather(
        *(status.client.mark_complete(campaign_id="a", force=True, reason="gone") for _ in range(3))
    )
    assert sorted(answer.transitioned for answer in answers) == [False, False, True]
    assert {answer.campaign.state for answer in answers} == {COMPLETED}
    assert (await _campaign(status)).unknown == 60
    status.check_invariants()


async def test_a_call_that_is_cancelled_ends_what_it_began(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that goes away in the middle finds the campaign complete later."""
    await status.start("a", 30)
    with _held_counts(monkeypatch) as gate:
        call = asyncio.create_task(
            status.client.mark_complete(campaign_id="a", force=True, reason="gone")
        )
        await gate.reached()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def is_completed() -> bool:
        return bool((await _campaign(status)).state == COMPLETED)

    await eventually(is_completed, what="it is completed")


async def test_s14_repair_counts_outside_the_lock(status: Status) -> None:
    """RepairCampaigns mends what is full and what has drifted, by the count it made."""
    await status.stuck("a")
    await status.start("b", 5)
    await status.report("b", *results([1, 2], FAILED))
    status.execute("UPDATE campaigns SET failed = 1 WHERE campaign_id = 'b'")
    found = (await status.client.repair_campaigns()).diagnoses
    assert {row.campaign.campaign_id: row.repaired for row in found} == {"a": True, "b": True}
    assert (await _campaign(status, "b")).failed == 2
    assert not [row for row in (await status.client.repair_campaigns()).diagnoses if row.repaired]
    status.check_invariants()


async def test_l7_a_stop_does_not_wait_for_a_count(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame is not acknowledged, nothing of it is stored, and it can be sent again."""
    close = Store.close

    def closed(store: Store) -> None:
        gate.go.set()  # what runs in a thread ends before the database closes
        close(store)

    monkeypatch.setattr(Store, "close", closed)
    with _held_counts(monkeypatch) as gate:
        async with serving(database, grace_seconds=0.1) as status:
            await status.start("a", 3)
            await status.report("a", *results([1, 2]))
            async with reporting(status.client) as stream:
                await stream.send("a", *results([3]))
                await gate.reached()
    assert not stream.acked_through
    async with serving(database) as status:
        assert (await _campaign(status)).processed == 2
        await status.report("a", *results([3]))
        assert (await _campaign(status)).state == COMPLETED


async def test_b1_a_pass_counts_nothing_where_nothing_is_full(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs what stands out, whatever the number of results."""
    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        service = CampaignService(
            store, Notifier(), stall_threshold=timedelta(minutes=5), largest_total=1_000
        )
        caller = Caller("default", "test")
        for name, total in (("a", 5), ("full", 7)):
            await service.create(caller, NewCampaign(name))
            await service.start(caller, name, StartOrder(total))

        def unexpected(*_: Any) -> Any:
            raise AssertionError("results are counted")

        with monkeypatch.context() as patched:
            patched.setattr(result_rows, "count_many", unexpected)
            scan = await service.mending.scan()
        assert (dict(scan.open), scan.noticed, scan.mended) == ({"default": 2}, [], [])
        with database.by_hand() as connection:
            connection.execute("UPDATE campaigns SET sent = 7 WHERE campaign_id = 'full'")
        scan = await service.mending.scan()
        (found,) = scan.mended
        assert (found.campaign.campaign_id, found.repaired) == ("full", True)
        assert (await service.mending.scan()).noticed == []
    finally:
        store.close()
