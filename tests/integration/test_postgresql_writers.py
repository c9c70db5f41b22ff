"""Writers on PostgreSQL: transactions of one campaign that overlap, and rows that others hold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from integration.databases import PATIENCE_SECONDS, PostgresqlDatabase
from integration.migrated import MigratedDatabases
from integration.status_support import check_invariants, eventually
from service_runtime.caller import Caller
from service_runtime.database import Store
from status_service.campaigns import lifecycle, registration
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.domain import Outcome, Problem
from status_service.migrations import MIGRATIONS
from status_service.recording import ahead, ledger, problems
from status_service.recording.ahead import NotAheadError
from status_service.recording.notifier import Notifier
from status_service.recording.result_columns import NO_RESULTS, ResultColumns
from status_service.recording.types import CampaignKey, Frame, FrameReceipt, Origin, Recorded
from status_service.recording.writer_pool import WriterPool

_CALLER = Caller("default", "tester")
_TOTAL = 100
#: What a transaction may have, results.
_WHOLE = 2
_PROBLEMS = [problems.to_json([Problem(1, word)]) for word in ("before", "after")]


class Writing:
    """A pool of writers of a database."""

    def __init__(self, store: Store, database: PostgresqlDatabase, pool: WriterPool) -> None:
        self.store = store
        self.database = database
        self.pool = pool
        self.origin = Origin()

    async def start(self, *names: str) -> None:
        """Register campaigns and start them."""
        for name in names:
            await self.store.write(
                lambda connection, name=name: (
                    registration.create(connection, _CALLER, NewCampaign(name)),
                    lifecycle.start(
                        connection, _CALLER, name, StartOrder(_TOTAL), largest_total=_TOTAL
                    ),
                )
            )

    async def submit(
        self, name: str, *sequences: int, problems: str | None = None
    ) -> asyncio.Future[FrameReceipt]:
        """Queue a frame."""
        rows = [(sequence, int(Outcome.SENT), 1, "", "", "", None) for sequence in sequences]
        results = ResultColumns.of(rows) if rows else NO_RESULTS
        frame = Frame(CampaignKey("default", name), "tester", results, problems, self.origin)
        return await self.pool.submit(frame)

    def campaign(self, name: str = "a") -> Any:
        """Return the row of a campaign, once all is found to be as it should be."""
        with self.database.by_hand() as hand:
            check_invariants(hand)
            return hand.execute("SELECT * FROM campaigns WHERE campaign_id = ?", (name,)).fetchone()


@pytest.fixture
async def writing(status_databases: MigratedDatabases) -> AsyncIterator[Writing]:
    """Writers at work, with a campaign."""
    url = status_databases.take()
    store = Store(url, MIGRATIONS, holder="test")
    pool = WriterPool(store, Notifier(), commit_results=_WHOLE, queue_frames=4)
    running = asyncio.create_task(pool.run())
    writing = Writing(store, PostgresqlDatabase(url), pool)
    await writing.start("a")
    async with asyncio.timeout(PATIENCE_SECONDS):
        yield writing
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.close()
    status_databases.give_back(url)


async def _all(receipts: Sequence[asyncio.Future[FrameReceipt]]) -> list[FrameReceipt]:
    return list(await asyncio.gather(*receipts))


async def test_s1_whole_transactions_of_one_campaign_overlap(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One begins before the one before it has ended, and each result counts once."""
    both = threading.Barrier(2)
    record = ledger.record

    def together(*args: Any, **options: Any) -> Recorded:
        both.wait(PATIENCE_SECONDS)
        return record(*args, **options)

    monkeypatch.setattr(ledger, "record", together)
    receipts = [await writing.submit("a", sequence) for sequence in range(1, 2 * _WHOLE + 1)]
    assert [receipt.new for receipt in await _all(receipts)] == [1] * 2 * _WHOLE
    assert writing.campaign()["sent"] == 2 * _WHOLE


@pytest.mark.parametrize("said", [[None, _PROBLEMS[1]], _PROBLEMS], ids=["in the later", "in both"])
async def test_a_transaction_with_problems_waits_for_the_one_before(
    writing: Writing, monkeypatch: pytest.MonkeyPatch, said: list[str | None]
) -> None:
    """Later problems hold, so they are stored later."""
    go_on = threading.Event()
    record = ledger.record

    def held(*args: Any, **options: Any) -> Recorded:
        assert go_on.wait(PATIENCE_SECONDS)
        return record(*args, **options)

    monkeypatch.setattr(ledger, "record", held)
    receipts = []
    try:
        for number, word in enumerate(said):
            first = number * _WHOLE + 1
            receipts.append(await writing.submit("a", first, problems=word))
            receipts.append(await writing.submit("a", *range(first + 1, first + _WHOLE)))
        for _ in range(100):  # as long as the second one would take to begin
            await asyncio.sleep(0)
        assert writing.store.has_free_writer
    finally:
        go_on.set()
    await _all(receipts)
    assert writing.campaign()["problems"] == _PROBLEMS[1]


async def test_s2_what_could_not_stay_as_it_was_copied_is_recorded_in_order(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, by the same writer, and its sender learns nothing of it."""

    def changed(*_: Any) -> None:
        monkeypatch.undo()
        raise NotAheadError

    monkeypatch.setattr(ahead, "copy", changed)
    with capture_logs() as logs:
        (receipt,) = await _all([await writing.submit("a", 1, 2)])
    assert (receipt.new, receipt.error) == (2, None)
    assert {line["log_level"] for line in logs} <= {"debug"}
    assert writing.campaign()["sent"] == 2


async def test_l5_a_copy_that_waited_for_a_lock_in_vain_waits_in_order(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as any transaction would: nobody hears of the short wait before."""
    record, ahead_of_lock = ledger.record, list[bool]()

    def noted(*args: Any, **options: Any) -> Recorded:
        ahead_of_lock.append(options["copy_ahead"])
        return record(*args, **options)

    monkeypatch.setattr(ledger, "record", noted)
    with capture_logs() as logs:
        with _held(writing, "SELECT 1 FROM campaigns FOR UPDATE"):
            receipt = await writing.submit("a", 1)

            async def again() -> bool:
                return len(ahead_of_lock) == 2

            await eventually(again, what="the frame is recorded in order")
        assert (await receipt).new == 1
    assert ahead_of_lock == [True, False]
    assert "campaign_locked_by_others" not in {line["event"] for line in logs}


@contextmanager
def _held(writing: Writing, statement: str) -> Iterator[None]:
    """Leave a transaction open with this statement; undo it at the end."""
    with writing.database.by_hand() as hand:
        hand.execute(statement)
        yield
        hand.execute("ROLLBACK")


@pytest.mark.usefixtures("impatient")
async def test_l5_results_that_others_hold_hold_up_no_other_campaign(writing: Writing) -> None:
    """Frames of theirs are refused, and taken later; what came with them is stored."""
    await writing.start("b", "c")
    held = "INSERT INTO results SELECT campaign, 2, 4, 1, '', '', '', 1, 1 FROM campaigns"
    with _held(writing, f"{held} WHERE campaign_id = 'a'"):
        receipts = [await writing.submit(name, 2) for name in ("a", "b", "c", "a")]
        first, *others, last = await _all(receipts)
        assert {type(receipt.error).__name__ for receipt in (first, last)} == {"CampaignBusyError"}
        assert [receipt.new for receipt in others] == [1, 1]
    (receipt,) = await _all([await writing.submit("a", 2)])
    assert receipt.new == 1
    assert [writing.campaign(name)["sent"] for name in ("a", "b", "c")] == [1, 1, 1]
