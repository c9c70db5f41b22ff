"""When a message was tried first, and how long its tries may go on from there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from integration.sender_bench import Bench, bench
from sender_service.domain import Guarantee, Outcome
from sender_service.store import schema

if TYPE_CHECKING:
    from pathlib import Path

#: The deadline of the messages of a bench: see its plan.
_DEADLINE = timedelta(seconds=60)


async def row_of_deferral(b: Bench) -> Any:
    """Return the row of the one message that waits for another try."""
    (row,) = await support.rows(b.store, sa.select(schema.deferrals))
    return row


async def tried_first(b: Bench, time: datetime) -> None:
    """Let the first try of the message have been at a time, and the next one be due."""

    def change(connection: sa.Connection) -> None:
        due = datetime.now(UTC)
        connection.execute(
            sa.update(schema.deferrals).values(first_attempt_time=time, next_attempt_time=due)
        )

    await b.store.write(change)


async def test_the_first_try_is_known_to_the_moment(tmp_path: Path) -> None:
    """Later ones change it no more."""
    async with bench(tmp_path, 1) as b:
        b.channel.script = lambda _: support.DEFERRED
        before = datetime.now(UTC)
        await b.run_once()
        first = (await row_of_deferral(b)).first_attempt_time
        assert before - timedelta(milliseconds=1) <= first <= datetime.now(UTC)
        await tried_first(b, first)
        await b.run_once()
        row = await row_of_deferral(b)
        assert (row.attempts, row.first_attempt_time) == (2, first)


async def test_an_outcome_has_the_moment_in_which_it_was_known(tmp_path: Path) -> None:
    """In microseconds, as the contract has it."""
    async with bench(tmp_path, 2) as b:
        before = datetime.now(UTC)
        await b.run_once()
        for row in await support.rows(b.store, sa.select(schema.outcomes)):
            assert before - timedelta(milliseconds=1) <= row.finish_time <= datetime.now(UTC)


async def test_a_try_that_was_broken_off_has_its_time_too(tmp_path: Path) -> None:
    """It may have reached its recipient, and is tried again for as long as any other."""
    async with bench(tmp_path, 1, Guarantee.AT_LEAST_ONCE) as b:
        b.channel.hold.clear()
        before = datetime.now(UTC)
        running = asyncio.create_task(b.run_once())
        await support.eventually(lambda: b.channel.flying == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        row = await row_of_deferral(b)
        assert (row.attempts, row.lost) == (1, True)
        assert before - timedelta(milliseconds=1) <= row.first_attempt_time <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("before", "fails"),
    [
        (_DEADLINE + timedelta(seconds=1), True),
        (_DEADLINE / 2, False),
        (timedelta(days=-30), False),
    ],
    ids=["after the deadline", "before it", "the clock was set back"],
)
async def test_l3_tries_end_with_the_deadline(
    tmp_path: Path, before: timedelta, *, fails: bool
) -> None:
    """It counts from the first try; a clock that was set back never makes it longer than that."""
    async with bench(tmp_path, 1) as b:
        b.channel.script = lambda _: support.DEFERRED
        await b.run_once()
        await tried_first(b, datetime.now(UTC) - before)
        await b.run_once()
        found = {number: one[0] for number, one in (await b.outcomes()).items()}
        assert found == ({1: Outcome.FAILED} if fails else {})
        if not fails:
            wait = (await row_of_deferral(b)).next_attempt_time - datetime.now(UTC)
            assert wait <= _DEADLINE
