"""S4, S14: everybody finishes one campaign at once; it completes once.

Through gRPC many calls meet the writer of a service, or on PostgreSQL those of two.
Beneath it, threads with a connection each do what the replicas of a service do.
`--race-rounds` says how many campaigns end on each database, a quarter through gRPC.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from closeout.errors import FailedPreconditionError
from integration.databases import Database, PostgresqlDatabase
from integration.status_support import (
    PATIENCE_SECONDS,
    Status,
    Stream,
    check_invariants,
    reporting,
    results,
    serving,
)
from service_runtime.caller import Caller
from service_runtime.database import Store
from status_service.campaigns import lifecycle, mark_complete, registration, repair
from status_service.campaigns.types import NewCampaign, StartOrder
from status_service.domain import Outcome, State
from status_service.errors import CampaignNotFullyProcessedError, TransitionNotAllowedError
from status_service.migrations import MIGRATIONS
from status_service.recording import ledger
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, Frame

#: Last batches of a campaign, of one result each.
_BATCHES = 64
_STREAMS = 4
#: Campaigns that end side by side, each with streams of its own.
_LANES = 4
_TOO_EARLY_OR_TOO_LATE = {"CAMPAIGN_NOT_FULLY_PROCESSED", "TRANSITION_NOT_ALLOWED"}
_CALLER = Caller("default", "racer")


async def test_s4_s14_last_batches_race_with_every_call(
    database: Database, race_rounds: int
) -> None:
    """64 last batches, MarkComplete, pause, resume and repair at once: completed once, L1."""
    rounds = race_rounds // 4
    async with AsyncExitStack() as opened:
        replicas = [
            await opened.enter_async_context(serving(database))
            for _ in range(2 if isinstance(database, PostgresqlDatabase) else 1)
        ]
        lanes = [
            [
                await opened.enter_async_context(reporting(replicas[number % len(replicas)].client))
                for number in range(_STREAMS)
            ]
            for _ in range(_LANES)
        ]

        async def lane(first: int, streams: list[Stream]) -> None:
            for number in range(first, rounds, _LANES):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await replicas[0].start(f"race-{number}", _BATCHES)
                    await _ended_by_all(f"race-{number}", replicas, streams)

        async with asyncio.TaskGroup() as group:
            for first, streams in enumerate(lanes):
                group.create_task(lane(first, streams))
        new = sum(stream.counts[0] for streams in lanes for stream in streams)
        assert new == rounds * _BATCHES
        for replica in replicas:
            assert not (await replica.client.repair_campaigns()).diagnoses, "L1"
    _check_all_ended_once(database, rounds)


async def _ended_by_all(name: str, replicas: Sequence[Status], streams: Sequence[Stream]) -> None:
    """Report the last results of a campaign while everybody else tries to end it."""
    clients = [replica.client for replica in replicas]
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        partial(_report, name, stream, range(number + 1, _BATCHES + 1, len(streams)))
        for number, stream in enumerate(streams)
    ]
    for number, method in enumerate(
        ("mark_complete", "pause_campaign", "mark_complete", "repair_campaigns", "resume_campaign")
    ):
        calls.append(partial(getattr(clients[number % len(clients)], method), campaign_id=name))
    barrier = asyncio.Barrier(len(calls))

    async def together(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        await barrier.wait()
        try:
            await call()
        except FailedPreconditionError as error:
            if error.reason not in _TOO_EARLY_OR_TOO_LATE:
                raise

    await asyncio.gather(*map(together, calls))


async def _report(name: str, stream: Stream, sequences: Sequence[int]) -> None:
    frames = [await stream.send(name, *results([sequence])) for sequence in sequences]
    await stream.acked(frames[-1])
    assert not stream.responses[-1].rejections


def _check_all_ended_once(database: Database, rounds: int, total: int = _BATCHES) -> None:
    with database.by_hand() as connection:
        check_invariants(connection)
        ended = connection.execute("SELECT state, sent FROM campaigns").fetchall()
        assert [tuple(row) for row in ended] == [("COMPLETED", total)] * rounds
        (completions,) = connection.execute(
            "SELECT count(*) FROM transitions JOIN events USING (transition)"
            " WHERE to_state = 'COMPLETED'"
        ).fetchone()
        assert completions == rounds
        (repaired,) = connection.execute(
            "SELECT count(*) FROM transitions WHERE cause = 'RECONCILE'"
        ).fetchone()
        assert repaired == 0, "L1"


async def test_s4_s14_transactions_of_replicas_race(database: Database, race_rounds: int) -> None:
    """Eight transactions at once on a campaign, four with its last results: completed once, L1."""
    rounds = race_rounds * 3 // 4
    Store(database.url, MIGRATIONS, holder="test").close()
    with _racers(database, 8) as race:
        await asyncio.to_thread(lambda: deque(map(race, range(rounds)), maxlen=0))
    _check_all_ended_once(database, rounds)


@contextmanager
def _racers(database: Database, number: int) -> Iterator[Callable[[int], None]]:
    """Give a function that makes a campaign and ends it from many threads at once."""
    engines = [database.engine() for _ in range(number)]
    for engine in engines:
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute(database.hurry))
    barrier = threading.Barrier(number)

    def together(engine: sa.Engine, work: Callable[[sa.Connection], object]) -> None:
        barrier.wait(PATIENCE_SECONDS)
        try:
            with engine.begin() as connection:
                work(connection)
        except (CampaignNotFullyProcessedError, TransitionNotAllowedError):
            return  # it came too early, or too late

    def race(number: int) -> None:
        name = f"race-{number}"
        with engines[0].begin() as connection:
            registration.create(connection, _CALLER, NewCampaign(name))
            lifecycle.start(connection, _CALLER, name, StartOrder(_BATCHES), largest_total=_BATCHES)
        works = _works(name)
        # Whoever is called first is first more often than not.
        turned = works[number % len(works) :] + works[: number % len(works)]
        list(threads.map(together, engines, turned))

    try:
        with ThreadPoolExecutor(number) as threads:
            yield race
    finally:
        for engine in engines:
            engine.dispose()


def _works(name: str) -> list[Callable[[sa.Connection], object]]:
    key = CampaignKey("default", name)

    def report(connection: sa.Connection, first: int) -> None:
        frames = [
            Frame(key, "racer", ResultColumns.of([(sequence, Outcome.SENT, 1, "", "", "", None)]))
            for sequence in range(first, _BATCHES + 1, 4)
        ]
        receipts = ledger.record(connection, frames).receipts
        assert [receipt.error for receipt in receipts] == [None] * len(frames)

    def mark(connection: sa.Connection) -> None:
        _, known = mark_complete.decide(connection, _CALLER, name, force=False)
        if known is not None:
            mark_complete.complete(
                connection, _CALLER, name, reason="", count=known, forced_before=0, revision=0
            )

    mend = partial(repair.repair, key=key, stall_threshold=timedelta(minutes=5), actor="racer")
    pause, resume = (
        partial(lifecycle.change_state, caller=_CALLER, campaign_id=name, target=target, reason="")
        for target in (State.PAUSED, State.SENDING)
    )
    return [*(partial(report, first=first) for first in range(1, 5)), mark, mend, pause, resume]
