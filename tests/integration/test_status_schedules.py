"""StartCampaign with a time: kept, moved or started, and never early by a repeated call."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from closeout.errors import FailedPreconditionError, InvalidArgumentError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database, PostgresqlDatabase
from integration.status_support import (
    PATIENCE_SECONDS,
    SENT,
    Status,
    eventually,
    results,
    serving,
)
from service_runtime.database import Store
from status_service.campaigns import lifecycle
from status_service.migrations import MIGRATIONS

DRAFT, SCHEDULED, SENDING, PAUSED, COMPLETED, CANCELLED = range(1, 7)


async def test_a_scheduled_campaign_starts_by_itself_when_it_is_due(status: Status) -> None:
    """A start in the future is SCHEDULED; at that time it becomes SENDING, cause SCHEDULE."""
    await status.client.create_campaign(campaign_id="a")
    due = datetime.now(UTC) + timedelta(seconds=1)
    scheduled = await status.client.start_campaign(campaign_id="a", total=2, start_time=due)
    assert (scheduled.campaign.state, scheduled.campaign.sealed) == (SCHEDULED, True)

    async def is_sending() -> bool:
        return (await status.client.get_campaign(campaign_id="a")).state == SENDING

    await eventually(is_sending, what="the scheduled campaign starts")
    campaign = await status.client.get_campaign(campaign_id="a")
    assert campaign.start_time.ToDatetime(UTC) >= campaign.schedule_time.ToDatetime(UTC)
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert trail[-1].cause == pb.Transition.SCHEDULE


async def test_a_scheduled_empty_campaign_completes_when_it_is_due(status: Status) -> None:
    """A campaign of 0 messages that was scheduled completes at its time, not before."""
    await status.client.create_campaign(campaign_id="a")
    due = datetime.now(UTC) + timedelta(seconds=1)
    scheduled = await status.client.start_campaign(campaign_id="a", total=0, start_time=due)
    assert scheduled.campaign.state == SCHEDULED

    async def is_completed() -> bool:
        return (await status.client.get_campaign(campaign_id="a")).state == COMPLETED

    await eventually(is_completed, what="the scheduled campaign completes")


async def test_l1_a_scheduled_campaign_that_is_full_is_completed(status: Status) -> None:
    """Whoever sends it before its time completes it with the last result, once."""
    await status.client.create_campaign(campaign_id="a")
    later = datetime.now(UTC) + timedelta(days=1)
    await status.client.start_campaign(campaign_id="a", total=2, start_time=later)
    await status.report("a", *results([1], SENT))
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.pending, campaign.HasField("start_time")) == (
        SCHEDULED,
        1,
        False,
    )
    await status.report("a", *results([2], SENT))
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.pending) == (COMPLETED, 0)
    assert campaign.start_time == campaign.complete_time
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert [step.to_state for step in trail] == [DRAFT, SCHEDULED, COMPLETED]
    assert trail[-1].cause == pb.Transition.RESULT
    again = await status.client.start_campaign(campaign_id="a", total=2, start_time=later)
    assert (again.campaign.state, again.transitioned) == (COMPLETED, False)


async def test_s17_a_repeated_start_never_sends_a_scheduled_campaign_early(
    status: Status,
) -> None:
    """Without a time, or with the one it has, nothing changes; start_now starts it."""
    later = datetime.now(UTC) + timedelta(days=1)
    await status.client.create_campaign(campaign_id="a")
    first = await status.client.start_campaign(campaign_id="a", total=2, start_time=later)
    for time in (later, None, later):
        again = await status.client.start_campaign(campaign_id="a", total=2, start_time=time)
        assert (again.campaign, again.transitioned) == (first.campaign, False)
    now = await status.client.start_campaign(campaign_id="a", total=2, start_now=True)
    assert (now.campaign.state, now.transitioned) == (SENDING, True)
    assert now.campaign.schedule_time.ToDatetime(UTC) == later
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert trail[-1].cause == pb.Transition.USER
    for fields in ({"start_now": True}, {"start_time": later}, {}):
        again = await status.client.start_campaign(campaign_id="a", total=2, **fields)
        assert (again.campaign, again.transitioned) == (now.campaign, False)


async def test_another_time_moves_a_scheduled_campaign(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays SCHEDULED, says no transition, and its revision grows: watchers see it."""
    monkeypatch.setattr("status_service.live.looks._POLL", 3_600.0)
    first, second = (datetime.now(UTC) + timedelta(days=days) for days in (1, 2))
    await status.client.create_campaign(campaign_id="a")
    before = await status.client.start_campaign(campaign_id="a", total=2, start_time=first)
    async with (
        aclosing(status.client.watch_campaign(campaign_id="a")) as watch,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert await anext(watch) == before.campaign
        moved = await status.client.start_campaign(campaign_id="a", total=2, start_time=second)
        assert await anext(watch) == moved.campaign
    assert (moved.campaign.state, moved.transitioned) == (SCHEDULED, False)
    assert moved.campaign.schedule_time.ToDatetime(UTC) == second
    assert moved.campaign.revision == before.campaign.revision + 1
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert [step.to_state for step in trail] == [DRAFT, SCHEDULED]


async def test_times_are_compared_as_the_database_keeps_them(status: Status) -> None:
    """A time with nanoseconds is kept to the microsecond, and is the same when it comes again."""
    await status.client.create_campaign(campaign_id="a")
    request = pb.StartCampaignRequest(campaign_id="a", total=1)
    request.start_time.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    request.start_time.nanos = 123_456_789
    first = await status.stub.StartCampaign(request)
    assert first.campaign.schedule_time.nanos == 123_456_000
    again = await status.stub.StartCampaign(request)
    assert (again.campaign, again.transitioned) == (first.campaign, False)


@pytest.mark.parametrize("scheduled", [False, True])
async def test_a_time_up_to_a_minute_past_is_now(status: Status, *, scheduled: bool) -> None:
    """It starts at once; the time is kept, so that the same call again is no other one."""
    await status.client.create_campaign(campaign_id="a")
    if scheduled:
        later = datetime.now(UTC) + timedelta(days=1)
        await status.client.start_campaign(campaign_id="a", total=2, start_time=later)
    time = datetime.now(UTC) - timedelta(seconds=20)
    started = await status.client.start_campaign(campaign_id="a", total=2, start_time=time)
    assert (started.campaign.state, started.transitioned) == (SENDING, True)
    assert started.campaign.schedule_time.ToDatetime(UTC) == time
    again = await status.client.start_campaign(campaign_id="a", total=2, start_time=time)
    assert (again.campaign, again.transitioned) == (started.campaign, False)
    other = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(FailedPreconditionError) as caught:
        await status.client.start_campaign(campaign_id="a", total=2, start_time=other)
    assert caught.value.reason == "TRANSITION_NOT_ALLOWED"


async def test_a_move_is_logged_with_both_times(status: Status) -> None:
    """Who moved it from when to when; a call that changes nothing logs nothing."""
    first, second = (datetime.now(UTC) + timedelta(days=days) for days in (1, 2))
    await status.client.create_campaign(campaign_id="a")
    with capture_logs() as logs:
        for time in (first, first, second, second):
            await status.client.start_campaign(campaign_id="a", total=2, start_time=time)
    (line,) = (line for line in logs if line["event"] == "campaign_rescheduled")
    assert line.pop("actor").startswith("ipv4:127.0.0.1:")
    assert line == {
        "event": "campaign_rescheduled",
        "log_level": "info",
        "campaign_id": "a",
        "organisation": "default",
        "schedule_time_before": first.isoformat(),
        "schedule_time": second.isoformat(),
    }


async def test_the_advice_for_a_time_that_is_past_starts_the_campaign(status: Status) -> None:
    """A draft starts without the time; a scheduled campaign needs start_now as well."""
    past = datetime.now(UTC) - timedelta(hours=1)

    async def advice(campaign_id: str) -> str:
        with pytest.raises(InvalidArgumentError) as caught:
            await status.client.start_campaign(campaign_id=campaign_id, total=2, start_time=past)
        return caught.value.field_violations["start_time"].partition("; ")[2]

    for name in ("draft", "scheduled"):
        await status.client.create_campaign(campaign_id=name)
    later = datetime.now(UTC) + timedelta(days=1)
    await status.client.start_campaign(campaign_id="scheduled", total=2, start_time=later)
    assert await advice("draft") == "leave it out to start now"
    assert await advice("scheduled") == "leave it out and set start_now to start now"
    first = await status.client.start_campaign(campaign_id="draft", total=2)
    second = await status.client.start_campaign(campaign_id="scheduled", total=2, start_now=True)
    assert [answer.campaign.state for answer in (first, second)] == [SENDING, SENDING]
    assert await advice("scheduled") == ""


async def test_a_time_more_than_a_minute_past_is_refused(status: Status) -> None:
    """Unless it is the one the campaign was started with, however long ago that was."""
    time = datetime.now(UTC) - timedelta(seconds=90)
    await status.client.create_campaign(campaign_id="a")
    with pytest.raises(InvalidArgumentError) as caught:
        await status.client.start_campaign(campaign_id="a", total=2, start_time=time)
    assert set(caught.value.field_violations) == {"start_time"}
    assert (await status.client.get_campaign(campaign_id="a")).state == DRAFT
    await status.client.start_campaign(campaign_id="a", total=2)
    status.execute("UPDATE campaigns SET schedule_time = ?", int(time.timestamp() * 1_000_000))
    kept = (await status.client.get_campaign(campaign_id="a")).schedule_time
    again = await status.client.start_campaign(
        campaign_id="a", total=2, start_time=kept.ToDatetime(UTC)
    )
    assert not again.transitioned


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
async def test_l5_a_due_campaign_that_is_locked_keeps_no_other_from_starting(
    database: Database,
) -> None:
    """It is passed over, and starts once its row is free."""
    assert isinstance(database, PostgresqlDatabase)
    with capture_logs() as logs:
        async with serving(database) as status:
            due = datetime.now(UTC) + timedelta(seconds=1)
            for name in ("a", "b", "c"):
                await status.client.create_campaign(campaign_id=name)
                await status.client.start_campaign(campaign_id=name, total=1, start_time=due)

            async def states() -> list[int]:
                campaigns = [
                    await status.client.get_campaign(campaign_id=name) for name in ("a", "b", "c")
                ]
                return [campaign.state for campaign in campaigns]

            async def others_started() -> bool:
                return await states() == [SCHEDULED, SENDING, SENDING]

            async def all_started() -> bool:
                return await states() == [SENDING] * 3

            with database.by_hand() as connection:
                connection.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'a' FOR UPDATE")
                await eventually(others_started, what="those that are free start")
            await eventually(all_started, what="the last one starts")
    assert not [line for line in logs if line["event"] == "schedule_postponed"]


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_s14_instances_that_start_one_due_campaign_at_once_start_it_once(
    database: Database,
) -> None:
    """Whoever comes second leaves it alone, while the first is at it and afterwards."""
    Store(database.url, MIGRATIONS, holder="test").close()
    with database.by_hand() as connection:
        connection.execute(
            "INSERT INTO campaigns (organisation, campaign_id, state, total, sent, failed, skipped,"
            " unknown, revision, display_name, channel, last_reporter, create_time, schedule_time)"
            " VALUES ('default', 'a', 'SCHEDULED', 1, 0, 0, 0, 0, 1, '', '', '', 0, 1)"
        )
    one, two = database.engine(), database.engine()
    try:
        with one.begin() as first, two.begin() as second:
            assert lifecycle.due(first) == lifecycle.due(second) == [1]
            assert lifecycle.start_due(first, 1) is not None
            assert lifecycle.start_due(second, 1) is None
        with two.begin() as second:
            assert lifecycle.due(second) == []
            assert lifecycle.start_due(second, 1) is None
    finally:
        one.dispose()
        two.dispose()


async def test_changes_of_state_are_logged_with_all_that_is_known(database: Database) -> None:
    """Old and new state, cause, actor, organisation and campaign, also of what completes itself."""
    with capture_logs() as logs:
        async with serving(database) as status:
            await status.client.create_campaign(campaign_id="a")
            await status.client.start_campaign(campaign_id="a", total=1)
            await status.client.pause_campaign(campaign_id="a", reason="lunch")
            await status.report("a", pb.Result(sequence=1, outcome=pb.Result.SENT), reporter="r-1")
    changes = [line for line in logs if line["event"] == "campaign_state_changed"]
    assert [(line["state_before"], line["state"], line["cause"]) for line in changes] == [
        (None, "DRAFT", "USER"),
        ("DRAFT", "SENDING", "SEAL"),
        ("SENDING", "PAUSED", "USER"),
        ("PAUSED", "COMPLETED", "RESULT"),
    ]
    assert {(line["campaign_id"], line["organisation"]) for line in changes} == {("a", "default")}
    assert (changes[2]["reason"], changes[3]["actor"]) == ("lunch", "r-1")
    assert all(line["actor"] for line in changes)
