"""How the open campaigns stand together, as the database says it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from integration.databases import Database
from integration.status_support import serving
from service_runtime.database import Store
from status_service.live.campaign_gauges import Standings, read_standings
from status_service.migrations import MIGRATIONS

#: Long enough for an error of a millionth to show.
_LONG = timedelta(days=40 * 365)
_NEAR_SECONDS = 100

Standing = Callable[..., Awaitable[Standings]]


@pytest.fixture
async def standing(database: Database) -> AsyncIterator[Standing]:
    """Three campaigns of one message: a and b are being sent, and p is paused.

    Changes their rows, and returns how they stand.
    """
    async with serving(database) as status:
        for name in ("a", "b", "p"):
            await status.start(name, 1)
        await status.client.pause_campaign(campaign_id="p")
    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")

    async def read(*changes: str, threshold: timedelta = _LONG) -> Standings:
        def change(connection: sa.Connection) -> None:
            for values in changes:
                connection.exec_driver_sql(f"UPDATE campaigns SET {values}")  # noqa: S608

        await store.write(change)
        return await store.read(lambda connection: read_standings(connection, threshold))

    yield read
    store.close()


def ago(length: timedelta) -> int:
    """Return a time as the database has it."""
    return round((time.time() - length.total_seconds()) * 1_000_000)


async def test_nothing_stands_where_nothing_is_open(standing: Standing) -> None:
    """All is 0."""
    assert await standing("state = 'CANCELLED'") == Standings({}, 0.0, 0, 0)


async def test_the_longest_is_that_of_a_campaign_that_is_being_sent(standing: Standing) -> None:
    """In seconds since its last result; a paused one stands on purpose."""
    found = await standing(
        "progress_time = 0 WHERE campaign_id = 'p'",
        f"progress_time = {ago(_LONG)} WHERE campaign_id = 'a'",
        f"progress_time = {ago(timedelta(minutes=1))} WHERE campaign_id = 'b'",
    )
    assert found.by_state == {"SENDING": 2, "PAUSED": 1}
    assert found.longest_seconds == pytest.approx(_LONG.total_seconds(), abs=_NEAR_SECONDS)


async def test_a_result_of_the_future_is_a_new_one(standing: Standing) -> None:
    """The clock of the database was set back since."""
    future = f"progress_time = {ago(timedelta(days=-1))}"
    for change in (future, "state = 'CANCELLED' WHERE campaign_id = 'p'"):
        found = await standing(change)
        assert found.longest_seconds == 0.0
    assert (found.stalled, found.needy) == (0, 0)


@pytest.mark.parametrize(("seconds", "stalled"), [(_NEAR_SECONDS, 1), (-_NEAR_SECONDS, 0)])
async def test_a_campaign_is_stalled_after_the_threshold(
    standing: Standing, seconds: int, stalled: int
) -> None:
    """And needs a person then; a paused one never does."""
    length = _LONG + timedelta(seconds=seconds)
    found = await standing(
        f"progress_time = {ago(timedelta())}",
        f"progress_time = {ago(length)} WHERE campaign_id IN ('a', 'p')",
    )
    assert (found.stalled, found.needy) == (stalled, stalled)


async def test_a_campaign_with_a_problem_for_a_person_needs_one(standing: Standing) -> None:
    """Each counts once, whether it is stalled as well or not; a paused one does not."""
    found = await standing(
        f"progress_time = {ago(timedelta())}",
        """problems = '[{"needs_attention": true}]'""",
        f"progress_time = {ago(_LONG + timedelta(seconds=_NEAR_SECONDS))} WHERE campaign_id = 'a'",
    )
    assert (found.stalled, found.needy) == (1, 2)
