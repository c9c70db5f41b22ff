"""S4, S14: everybody finishes one campaign at once; it completes once.

On gRPC many calls meet one writer. Beneath it, threads with connections of their own
stand for the replicas that the design allows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from clients.errors import FailedPreconditionError
from integration.databases import Database
from integration.status_support import (
    PATIENCE_SECONDS,
    Status,
    check_invariants,
    reporting,
    results,
)
from service_runtime.caller import Caller
from service_runtime.database import Store
from status_service import campaigns, ledger, repair
from status_service.domain import Outcome, State
from status_service.errors import CampaignNotFullyProcessedError, TransitionNotAllowedError
from status_service.schema import metadata

COMPLETED = 5
_ROUNDS = 100
_TOTAL = 24
_TOO_EARLY_OR_TOO_LATE = {"CAMPAIGN_NOT_FULLY_PROCESSED", "TRANSITION_NOT_ALLOWED"}
_CALLER = Caller("default", "racer")


async def test_s4_s14_the_last_results_race_with_every_repair(status: Status) -> None:
    """32 calls at once on each of 100 campaigns: one completion each, and repair finds nothing."""
    async with AsyncExitStack() as opened:
        streams = [await opened.enter_async_context(reporting(status.client)) for _ in range(8)]
        client = status.client
        for number in range(_ROUNDS):
            name = f"race-{number}"
            await status.start(name, _TOTAL)
            barrier = asyncio.Barrier(32)

            async def together(call: Callable[[], Any], barrier: asyncio.Barrier) -> None:
                await barrier.wait()
                try:
                    await call()
                except FailedPreconditionError as error:
                    if error.reason not in _TOO_EARLY_OR_TOO_LATE:
                        raise

            share = _TOTAL // len(streams)
            calls: list[Callable[[], Any]] = [
                partial(
                    stream.send, name, *results(range(index * share + 1, (index + 1) * share + 1))
                )
                for index, stream in enumerate(streams)
            ]
            calls += [partial(client.mark_complete, campaign_id=name, reason="race")] * 8
            calls += [partial(client.repair_campaigns, campaign_id=name)] * 8
            calls += [partial(client.pause_campaign, campaign_id=name)] * 4
            calls += [partial(client.resume_campaign, campaign_id=name)] * 4
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(together(call, barrier) for call in calls))
            for stream in streams:
                await stream.acked(number + 1)
            campaign = await client.get_campaign(campaign_id=name)
            assert (campaign.state, campaign.sent) == (COMPLETED, _TOTAL)
        for stream in streams:
            assert not stream.rejections
            assert set(stream.states.values()) == {COMPLETED}
        assert sum(stream.counts[0] for stream in streams) == _ROUNDS * _TOTAL
    assert not (await client.repair_campaigns()).diagnoses
    (row,) = status.execute("SELECT count(*) FROM transitions WHERE cause = 'RECONCILE'")
    assert row[0] == 0, "L1"


async def test_s4_s14_replicas_race_on_the_same_database(database: Database) -> None:
    """Threads with connections of their own finish one campaign at once: it completes once."""
    store = Store(database.url, metadata, holder="test")
    engines = [database.engine() for _ in range(12)]
    try:
        with ThreadPoolExecutor(len(engines)) as threads:
            for number in range(15):
                await _race(store, engines, threads, f"race-{number}")
    finally:
        for engine in engines:
            engine.dispose()
        store.close()
    with database.by_hand() as connection:
        check_invariants(connection)
        completed = connection.execute("SELECT state, sent FROM campaigns").fetchall()
        assert [tuple(row) for row in completed] == [("COMPLETED", 12)] * 15


async def _race(
    store: Store, engines: list[sa.Engine], threads: ThreadPoolExecutor, name: str
) -> None:
    await store.write(
        partial(
            campaigns.create,
            caller=_CALLER,
            campaign_id=name,
            request_id="",
            display_name="",
            channel="",
        )
    )
    await store.write(
        partial(campaigns.start, caller=_CALLER, campaign_id=name, total=12, start_time=None)
    )
    key = ledger.CampaignKey("default", name)
    barrier = threading.Barrier(len(engines))

    def report(connection: sa.Connection, first: int) -> None:
        rows = [(first + n, Outcome.SENT, 1, "", "", "", None) for n in range(2)]
        (receipt,) = ledger.record(connection, [ledger.Frame(key, "racer", rows)]).receipts
        assert receipt.error is None

    def together(engine: sa.Engine, work: Callable[[sa.Connection], object]) -> None:
        barrier.wait(PATIENCE_SECONDS)
        try:
            with engine.begin() as connection:
                work(connection)
        except (CampaignNotFullyProcessedError, TransitionNotAllowedError):
            return  # it came too early, or too late

    mark = partial(
        campaigns.mark_complete,
        caller=_CALLER,
        campaign_id=name,
        reason="",
        force=False,
        dry_run=False,
        etag="",
    )
    mend = partial(repair.repair, key=key, stall_threshold=timedelta(minutes=5), actor="racer")
    pause = partial(
        campaigns.change_state, caller=_CALLER, campaign_id=name, target=State.PAUSED, reason=""
    )
    works = [partial(report, first=first) for first in range(1, 13, 2)] + [mark, mark, mend] * 2
    works[-1] = pause
    futures = [
        threads.submit(together, engine, work) for engine, work in zip(engines, works, strict=True)
    ]
    for future in futures:
        await asyncio.wrap_future(future)
