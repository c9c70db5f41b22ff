"""How long an outage lasts: over restarts, pauses and failures of the sender's database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.held_campaigns import held_up, problem_of
from integration.sender_pair import pair
from sender_service.campaigns.directory import Directory
from sender_service.channels.contract import Message, Reply
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Gate
from sender_service.delivery.provider import Provider
from sender_service.store import outages, schema
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Kind = status_pb2.Problem.Kind
#: A clock so slow that no second probe comes.
_STANDS_STILL = 1e-4
_FAST = 200.0


async def test_an_outage_outlives_a_restart(tmp_path: Path) -> None:
    """It began when it began, and its deadline stays."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 5)
        before = await held_up(both, "c1")
        await both.stop_sender()
        await both.start_sender()
        after = await held_up(both, "c1")
        assert after.since_time == before.since_time
        assert after.deadline_time == before.deadline_time


@pytest.mark.parametrize(
    ("tried", "began"),
    [(timedelta(hours=20), timedelta(hours=10)), (timedelta(minutes=5.5), timedelta(hours=30))],
    ids=["no process", "between two tries"],
)
async def test_the_time_without_a_process_counts_for_no_deadline(
    tmp_path: Path, tried: timedelta, began: timedelta
) -> None:
    """An outage goes on at the start as long as it was when the provider was tried last."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)
        now = datetime.now(UTC)
        since = now - timedelta(hours=30)
        await store.write(lambda c: outages.note_outage(c, row.campaign, since=since))
        await store.write(outages.note_tried)
        table = schema.meta
        await store.write(
            lambda c: c.execute(
                sa.update(table)
                .where(table.c.name == "provider_tried_time")
                .values(value=(now - tried).isoformat())
            )
        )
        await store.write(outages.resume_outages)
        (stored,) = await support.rows(store, sa.select(schema.campaigns))
        assert abs(now - began - stored.unreachable_time) < timedelta(minutes=2)


async def stored_outage(tmp_path: Path) -> Any:
    """Return the row of the one campaign of a stopped sender."""
    async with support.open_store(tmp_path) as store:
        (row,) = await support.rows(store, sa.select(schema.campaigns))
        return row


async def test_a_pause_is_no_part_of_an_outage(tmp_path: Path) -> None:
    """A paused campaign has no problem, and its outage begins again with the resume."""
    async with pair(tmp_path, speed=_STANDS_STILL) as both:
        both.channel.check_reply = support.UNREACHABLE
        await both.begin("c1", 5)
        before = await held_up(both, "c1")
        await both.status.pause_campaign(campaign_id="c1")

        async def cleared() -> bool:
            return await problem_of(both, "c1") is None

        await support.eventually(cleared)
        await both.status.resume_campaign(campaign_id="c1")
        after = await held_up(both, "c1")
        assert after.since_time.ToDatetime() > before.since_time.ToDatetime()
        await both.status.pause_campaign(campaign_id="c1")
        await support.eventually(cleared)
        await both.stop_sender()
        assert (await stored_outage(tmp_path)).unreachable_time is None


async def test_a_store_that_fails_learns_of_the_outage_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not take is shown and forgotten as soon as it answers again."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)
        directory = Directory(store)
        channel, clock = support.ScriptedChannel(), Clock()
        provider = Provider(store, directory, channel, clock)
        gate = Gate(provider.shared, directory.add(row), remaining=1, deadline_seconds=3600)
        provider.attend(gate)

        async def failing(_: Any) -> Any:
            raise StoreUnavailableError("the test says so")

        async def shown(*, fails: bool) -> tuple[bool, bool]:
            with monkeypatch.context() as patch:
                if fails:
                    patch.setattr(store, "write", failing)
                    with pytest.raises(StoreUnavailableError):
                        await gate.show(directory)
                else:
                    await gate.show(directory)
            (stored,) = await support.rows(store, sa.select(schema.campaigns))
            return stored.unreachable_time is not None, stored.problems != "[]"

        breaker = provider.shared.breaker
        assert support.UNREACHABLE.fault is not None
        provider.shared.open(support.UNREACHABLE.fault, "gone", retry_after_seconds=None)
        assert await shown(fails=True) == (False, False)
        assert not gate.outage.is_over
        assert await shown(fails=False) == (True, True)
        before = breaker.state
        breaker.close()
        provider.shared.moved(before)
        assert await shown(fails=True) == (True, True)
        assert not gate.outage.is_over
        assert await shown(fails=False) == (False, False)
        assert gate.outage.is_over


async def test_an_outage_that_is_over_is_forgotten(tmp_path: Path) -> None:
    """A later one counts nothing of it."""
    async with pair(tmp_path, speed=_FAST) as both:
        failing = [True]
        script: Callable[[Message], Reply] = lambda m: (  # noqa: E731
            support.UNREACHABLE if failing[0] or m.sequence > 5 else support.ACCEPTED
        )
        both.channel.script = script
        await both.begin("c1", 10)
        before = await held_up(both, "c1")
        failing[0] = False
        await support.eventually(lambda: len(both.channel.accepted()) == 5)

        async def later() -> bool:
            problem = await problem_of(both, "c1")
            return problem is not None and (
                problem.since_time.ToDatetime() > before.since_time.ToDatetime()
            )

        await support.eventually(later)
        both.channel.script = lambda _: support.ACCEPTED
        assert (await both.ended("c1")).sent == 10
        await both.finished("c1")
        await both.stop_sender()
        assert (await stored_outage(tmp_path)).unreachable_time is None
