"""Samples of counters: noted once while they change, at the end, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from closeout.errors import NotFoundError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database, PostgresqlDatabase
from integration.status_support import (
    FAILED,
    SKIPPED,
    UNKNOWN,
    Status,
    eventually,
    results,
    serving,
)
from providers.postgresql_server import PostgresqlServer
from service_runtime.database import Store
from service_runtime.errors import StoreUnavailableError
from status_service.migrations import MIGRATIONS
from status_service.recording.notifier import Notifier
from status_service.recording.sampler import Sampler
from status_service.recording.thinning import MOST_SAMPLES
from status_service.recording.types import CampaignKey

_KEY = CampaignKey("default", "a")


def _counters(sample: pb.CounterSample) -> tuple[int, int, int, int]:
    return sample.sent, sample.failed, sample.skipped, sample.unknown


@dataclass
class Passes:
    """The passes of one process, made by hand, and the rows they leave."""

    store: Store
    notifier: Notifier
    sampler: Sampler

    async def noted(self) -> list[tuple[int, ...]]:
        """Run a pass; return (sent, number, step) of all samples, oldest first."""
        await self.sampler.note()

        return await self.store.read(
            lambda connection: [
                tuple(row)
                for row in connection.exec_driver_sql(
                    "SELECT sent, number, step FROM samples ORDER BY sample_time"
                )
            ]
        )

    async def execute(self, *statements: str) -> None:
        """Change rows, and announce it."""
        for statement in statements:
            await self.store.write(
                lambda connection, one=statement: connection.exec_driver_sql(one)  # type: ignore[misc]
            )
        self.notifier.changed.add(_KEY)

    async def age(self, seconds: int) -> None:
        """Let all samples be older."""
        await self.execute(
            f"UPDATE samples SET sample_time = sample_time - {seconds}000001"  # noqa: S608
        )


@asynccontextmanager
async def _passes(database: Database) -> AsyncIterator[Passes]:
    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        notifier = Notifier()
        yield Passes(store, notifier, Sampler(store, notifier))
    finally:
        store.close()


@pytest.fixture
async def passes(database: Database) -> AsyncIterator[Passes]:
    """Passes over a database with one campaign of a hundred, ten of them sent."""
    async with serving(database) as status:
        await status.start("a", 100_000)
        status.execute("DELETE FROM samples")
    async with _passes(database) as made:
        await made.execute("UPDATE campaigns SET sent = 10")
        yield made


async def test_a_sample_is_noted_where_counters_changed(passes: Passes) -> None:
    """Not without a change, not twice within ten seconds, and not for what was not announced."""
    assert await passes.noted() == [(10, 1, 10)]
    assert not passes.notifier.changed
    await passes.age(30)
    assert await passes.noted() == [(10, 1, 10)]
    await passes.execute("UPDATE campaigns SET sent = 20")
    assert await passes.noted() == [(10, 1, 10), (20, 2, 10)]
    await passes.execute("UPDATE campaigns SET sent = 30")
    assert await passes.noted() == [(10, 1, 10), (20, 2, 10)]
    assert passes.notifier.changed == {_KEY}, "it is too early, and a later pass notes it"
    await passes.age(30)
    assert (await passes.noted())[-1] == (30, 3, 10)
    await passes.execute("UPDATE campaigns SET sent = 40")
    passes.notifier.changed.clear()
    await passes.age(30)
    passes.notifier.changed.clear()
    assert (await passes.noted())[-1] == (30, 3, 10), "nobody announced it"


async def test_a_sample_that_was_not_stored_is_noted_by_the_next_pass(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database did not take it, and nothing else says that the campaign changed."""

    async def fails(_: Any) -> None:
        raise StoreUnavailableError("the test says so")

    with monkeypatch.context() as patched:
        patched.setattr(passes.store, "write", fails)
        with pytest.raises(StoreUnavailableError):
            await passes.sampler.note()
    assert await passes.noted() == [(10, 1, 10)]
    assert not passes.notifier.changed


async def test_what_a_killed_process_did_not_note_is_noted_at_the_start(
    database: Database,
) -> None:
    """The first pass looks at all open campaigns; those that have ended have their last one."""
    async with serving(database) as status:
        for name in ("a", "b", "c"):
            await status.start(name, 10)
            await status.report(name, *results([1, 2]))
        await status.client.cancel_campaign(campaign_id="c")
        status.execute("DELETE FROM samples")
    async with _passes(database) as passes:
        assert sorted(await passes.noted()) == [(2, 1, 10), (2, 1, 10)]


async def test_replicas_note_a_change_once(
    postgresql_server: PostgresqlServer,
) -> None:
    """Of several processes on one database, one notes what changed, whoever stored it."""
    url = postgresql_server.create_database()
    database = PostgresqlDatabase(url)
    async with serving(database) as status:
        await status.start("a", 10)
    async with _passes(database) as here, _passes(database) as there:
        for one in (here, there):
            await one.execute("UPDATE campaigns SET sent = 5")
        await asyncio.gather(*(one.sampler.note() for one in (here, there)))
        assert await here.noted() == [(5, 1, 10)]
        await there.noted()
        assert await there.noted() == [(5, 1, 10)]
        assert not here.notifier.changed
        assert not there.notifier.changed
    postgresql_server.drop_database(url)


async def test_a_campaign_that_runs_for_long_has_a_bounded_number(passes: Passes) -> None:
    """At the most, the older samples are thinned, and the step doubles."""
    await passes.execute(
        "INSERT INTO samples WITH RECURSIVE numbers (n) AS"
        " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 239)"
        " SELECT campaign, start_time - (240 - n) * CAST(10000000 AS BIGINT), n, 0, 0, 0, n, 10"
        " FROM campaigns, numbers",
        "UPDATE campaigns SET sent = 1000",
    )
    await passes.age(10)
    found = await passes.noted()
    assert len(found) <= 200
    assert found[0][0] == 1
    assert found[-1] == (1000, len(found), 20)
    assert [row[0] for row in found[-37:]] == [*range(204, 240), 1000]
    for sent in range(1_001, 1_060):
        await passes.age(10)
        await passes.execute(f"UPDATE campaigns SET sent = {sent}")  # noqa: S608
        found = await passes.noted()
        assert found[-1][:2] == (sent, len(found))
        assert len(found) < MOST_SAMPLES


async def test_an_ended_campaign_has_a_last_sample(status: Status) -> None:
    """It is stored with the completion or the cancellation, and nothing is added to it."""
    await status.start("a", 4)
    await status.report(
        "a",
        *results([1]),
        *results([2], FAILED),
        *results([3], SKIPPED),
        *results([4], UNKNOWN),
    )
    await status.start("b", 4)
    await status.report("b", *results([1]))
    await status.client.cancel_campaign(campaign_id="b")
    samples = await status.client.list_samples(campaign_id="a")
    campaign = await status.client.get_campaign(campaign_id="a")
    assert [_counters(sample) for sample in samples] == [(0, 0, 0, 0), (1, 1, 1, 1)]
    assert samples[0].sample_time == campaign.start_time
    assert samples[1].sample_time.ToDatetime() >= campaign.complete_time.ToDatetime()
    assert not campaign.HasField("results_per_minute")
    assert not campaign.HasField("time_left")
    samples = await status.client.list_samples(campaign_id="b")
    assert [_counters(sample) for sample in samples] == [(0, 0, 0, 0), (1, 0, 0, 0)]
    with pytest.raises(NotFoundError):
        await status.client.list_samples(campaign_id="c")


async def test_a_last_sample_goes_on_with_those_of_its_campaign(status: Status) -> None:
    """With their numbers and their step, and not with what was noted of another one last."""
    for name, number, step in (("a", 5, 20), ("b", 9, 40), ("c", 0, 0)):
        await status.start(name, 2)
        if number:
            status.execute(
                "INSERT INTO samples SELECT campaign, start_time, 0, 0, 0, 0, ?, ?"
                " FROM campaigns WHERE campaign_id = ?",
                number,
                step,
                name,
            )
    for name in "abc":
        await status.report(name, *results([1, 2]))
    found = status.execute(
        "SELECT campaign_id, number, step FROM samples JOIN campaigns"
        " ON campaigns.campaign = samples.campaign WHERE samples.sent = 2 ORDER BY campaign_id"
    )
    assert [tuple(row) for row in found] == [("a", 6, 20), ("b", 10, 40), ("c", 1, 10)]


async def test_a_service_notes_by_itself(database: Database) -> None:
    """Samples survive a restart, and the pass at the start notes what is new."""
    async with serving(database) as status:
        await status.start("a", 10)
        await status.report("a", *results([1, 2]))
        status.execute("DELETE FROM samples")
    async with serving(database) as status:

        async def is_noted() -> bool:
            return status.execute("SELECT sent FROM samples") != []

        await eventually(is_noted, what="the pass at the start notes it")
        samples = await status.client.list_samples(campaign_id="a")
        assert [_counters(sample)[0] for sample in samples] == [0, 2, 2]


async def test_lists_say_how_fast_campaigns_go(status: Status) -> None:
    """The rate of the last minute, and the time left; for each campaign of a page."""
    for name, total in (("a", 1_000), ("b", 1_000), ("draft", 0)):
        if total:
            await status.start(name, total)
        else:
            await status.client.create_campaign(campaign_id=name)
    await status.report("a", *results(range(1, 101)))
    await status.report("b", *results(range(1, 11)))
    # Both began ten minutes ago; of "a", 40 results are older than a minute.
    status.execute("UPDATE campaigns SET start_time = start_time - 600000000")
    for earlier, sent in ((120_000_000, 40), (5_000_000, 100)):
        status.execute(
            "INSERT INTO samples SELECT campaign, progress_time - ?, ?, 0, 0, 0, 1, 10"
            " FROM campaigns WHERE campaign_id = 'a'",
            earlier,
            sent,
        )
    listed = {one.campaign_id: one async for one in status.client.list_campaigns()}
    a, b, draft = (listed[name] for name in ("a", "b", "draft"))
    assert (a.results_per_minute, b.results_per_minute) == (60, 10)
    assert a.time_left.ToTimedelta() == timedelta(seconds=60 * 900 // 20)
    assert b.time_left.ToTimedelta() == timedelta(seconds=60 * 990 // 2)
    assert not draft.HasField("results_per_minute")
    one = await status.client.get_campaign(campaign_id="a")
    assert (one.results_per_minute, one.time_left) == (a.results_per_minute, a.time_left)


@pytest.mark.parametrize("young", [1, 2])
async def test_a_campaign_with_a_young_sample_holds_up_no_other(
    database: Database, young: int
) -> None:
    """One pass notes those that are due; the other one is left to a later pass."""
    async with serving(database) as status:
        for name in ("a", "b"):
            await status.start(name, 100)
        status.execute("DELETE FROM samples")
    async with _passes(database) as passes:
        passes.notifier.changed.add(CampaignKey("default", "b"))
        await passes.execute("UPDATE campaigns SET sent = 10")
        assert await passes.noted() == [(10, 1, 10), (10, 1, 10)]
        passes.notifier.changed.add(CampaignKey("default", "b"))
        await passes.execute(
            "UPDATE campaigns SET sent = 20",
            "UPDATE samples SET sample_time = sample_time - 30000000"  # noqa: S608
            f" WHERE campaign <> (SELECT {'min' if young == 1 else 'max'}(campaign) FROM samples)",
        )
        assert await passes.noted() == [(10, 1, 10), (10, 1, 10), (20, 2, 10)]
        assert passes.notifier.changed == {CampaignKey("default", "ab"[young - 1])}
