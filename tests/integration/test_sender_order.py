"""The sender obeys the newest state: pause, cancel and resume beside a repeated StartCampaign."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pysqlite3 import dbapi2
from structlog.testing import capture_logs

from closeout.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from closeout.sender.v1 import sender_pb2
from integration import sender_support as support
from integration.sender_faults import FakeStatusService, beside
from integration.sender_pair import Pair, State, pair
from integration.test_sender_restores import back_up, ended, restore
from sender_service import domain
from sender_service.store import campaigns

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

    from closeout.status.v1 import status_pb2

_MESSAGES = 200
#: The longest time between two calls that race, seconds.
_SPREAD_SECONDS = 0.008


class SlowStart:
    """Holds up the write that follows the status service's answer to StartCampaign."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._mark_started = campaigns.mark_started
        self._open = threading.Event()
        self._open.set()
        self.reached = threading.Event()
        monkeypatch.setattr(campaigns, "mark_started", self._wait)

    def _wait(self, connection: sa.Connection, *args: Any, **kwargs: Any) -> None:
        self.reached.set()
        self._open.wait(60)
        self._mark_started(connection, *args, **kwargs)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the next such write up for the block."""
        self.reached.clear()
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()


def received(logged: Sequence[Any]) -> list[domain.State]:
    """Return the states that the sender took, in order."""
    return [
        line["state"]
        for line in logged
        if line["event"] == "campaign_state_received" and line["campaign_id"] == "c1"
    ]


async def last_received(logged: Sequence[Any], state: domain.State, *, after: int) -> None:
    """Wait until the sender took ``state`` as its ``after``-th change or later."""
    await support.eventually(lambda: state in received(logged)[after:])


async def begin_and_hold(both: Pair) -> None:
    """Begin a campaign whose calls do not end."""
    await both.hold_calls()
    await both.begin("c1", _MESSAGES)
    await support.eventually(lambda: both.channel.flying == both.channel.concurrency)


async def at_rest(both: Pair) -> None:
    """Wait until nobody works on a shard, and every outcome is reported."""

    async def look() -> bool:
        delivery = await both.sender.get_delivery(campaign_id="c1")
        return not (delivery.in_doubt or delivery.leased_shards or delivery.unreported)

    await support.eventually(look)


async def overtaken_start(
    both: Pair, slow: SlowStart, logged: Sequence[Any], call: Any, state: domain.State
) -> None:
    """Repeat StartCampaign, and have its answer come later than a newer state."""
    with slow.held():
        again = asyncio.create_task(both.sender.start_campaign(campaign_id="c1"))
        await support.eventually(slow.reached.is_set)
        before = len(received(logged))
        await call(campaign_id="c1")
        await last_received(logged, state, after=before)
    assert not (await again).transitioned


async def test_s17_a_cancel_is_not_undone_by_an_older_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What StartCampaign was answered before the cancel does not bring the sending back."""
    slow = SlowStart(monkeypatch)
    async with pair(tmp_path) as both:
        with capture_logs() as logged:
            await begin_and_hold(both)
            call = both.status.cancel_campaign
            await overtaken_start(both, slow, logged, call, domain.State.CANCELLED)
            both.channel.hold.set()
            campaign = await both.ended("c1")
        assert campaign.state == State.CANCELLED
        assert campaign.sent == len(both.channel.calls) == both.channel.concurrency
        assert campaign.skipped == _MESSAGES - campaign.sent
        assert received(logged)[-1] is domain.State.CANCELLED


async def test_s17_a_pause_is_not_undone_by_an_older_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is handed over after the calls in flight, until the campaign is resumed."""
    slow = SlowStart(monkeypatch)
    async with pair(tmp_path) as both:
        with capture_logs() as logged:
            await begin_and_hold(both)
            call = both.status.pause_campaign
            await overtaken_start(both, slow, logged, call, domain.State.PAUSED)
            both.channel.hold.set()
            await at_rest(both)
        assert len(both.channel.calls) == both.channel.concurrency
        assert received(logged)[-1] is domain.State.PAUSED
        assert (await both.status.get_campaign(campaign_id="c1")).state == State.PAUSED
        await both.status.resume_campaign(campaign_id="c1")
        assert (await both.ended("c1")).sent == _MESSAGES


async def test_l6_a_resume_is_not_lost_to_an_older_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What StartCampaign was answered before the resume does not pause the campaign for ever."""
    slow = SlowStart(monkeypatch)
    async with pair(tmp_path) as both:
        with capture_logs() as logged:
            await begin_and_hold(both)
            await both.status.pause_campaign(campaign_id="c1")
            await last_received(logged, domain.State.PAUSED, after=0)
            both.channel.hold.set()
            await at_rest(both)
            call = both.status.resume_campaign
            await overtaken_start(both, slow, logged, call, domain.State.SENDING)
            assert (await both.ended("c1")).sent == _MESSAGES
        assert both.channel.accepted() == list(range(1, _MESSAGES + 1))


async def test_s16_states_stay_in_order_beside_repeated_starts(
    tmp_path: Path, order_rounds: int
) -> None:
    """After each race the state that the sender acts on is that of the status service."""
    chance = random.Random(1)  # noqa: S311 - it spreads calls, no more
    async with pair(tmp_path) as both:
        calls = {
            domain.State.PAUSED: both.status.pause_campaign,
            domain.State.SENDING: both.status.resume_campaign,
            domain.State.CANCELLED: both.status.cancel_campaign,
        }

        async def changed(state: domain.State) -> None:
            await asyncio.sleep(chance.uniform(0, _SPREAD_SECONDS))
            await calls[state](campaign_id="c1")

        with capture_logs() as logged:
            await begin_and_hold(both)
            rounds = [domain.State.PAUSED, domain.State.SENDING] * order_rounds
            for state in [*rounds, domain.State.CANCELLED]:
                before = len(received(logged))
                started, change = await asyncio.gather(
                    both.sender.start_campaign(campaign_id="c1"),
                    changed(state),
                    return_exceptions=True,
                )
                assert change is None
                if state is domain.State.CANCELLED and isinstance(started, Exception):
                    assert isinstance(started, FailedPreconditionError)  # the cancel was first
                else:
                    assert not started.transitioned
                await last_received(logged, state, after=before)
                assert received(logged)[before:] == [state]
            both.channel.hold.set()
            campaign = await both.ended("c1")
        assert campaign.sent == len(both.channel.calls)
        assert campaign.skipped == _MESSAGES - campaign.sent


async def test_s16_a_restored_database_begins_with_lower_revisions(tmp_path: Path) -> None:
    """What the restored database says is obeyed, although newer revisions were seen before."""
    async with pair(tmp_path) as both:
        with capture_logs() as logged:
            await begin_and_hold(both)
            back_up(tmp_path)
            for _ in range(3):
                await both.status.pause_campaign(campaign_id="c1")
                await both.status.resume_campaign(campaign_id="c1")
            paused = await both.status.pause_campaign(campaign_id="c1")
            await last_received(logged, domain.State.PAUSED, after=0)
            await support.eventually(lambda: received(logged)[-1] is domain.State.PAUSED)
            await restore(both)
            await support.eventually(lambda: received(logged)[-1] is domain.State.SENDING)
            before = len(received(logged))
            again = await both.status.pause_campaign(campaign_id="c1")
            assert again.campaign.revision < paused.campaign.revision
            await last_received(logged, domain.State.PAUSED, after=before)
            both.channel.hold.set()
            await at_rest(both)
            calls = len(both.channel.calls)
            assert calls < _MESSAGES
            await both.status.resume_campaign(campaign_id="c1")
            assert (await both.ended("c1")).sent == _MESSAGES
        assert both.channel.accepted() == list(range(1, _MESSAGES + 1))


class Disordered(FakeStatusService):
    """Sends a pause of a newer revision before the older state, once there are results."""

    def stored_answer(self, request: Any) -> status_pb2.ReportResultsResponse:
        """Answer with both states, the older one last."""
        response = super().stored_answer(request)
        if request.results:
            self.revision += 1
            older = response.campaign_states.pop()
            response.campaign_states.add(
                campaign_id=request.campaign_id,
                state=State.PAUSED,
                revision=self.revision,
                processed=older.processed,
            )
            response.campaign_states.append(older)
        return response


async def test_s16_an_older_state_on_a_stream_changes_nothing(tmp_path: Path) -> None:
    """The newer revision counts, in whatever order the states come."""
    async with beside(Disordered(), tmp_path) as both:
        with capture_logs() as logged:
            await begin_and_hold(both)
            both.channel.hold.set()
            await last_received(logged, domain.State.PAUSED, after=0)
            await at_rest(both)
        assert received(logged) == [domain.State.SENDING, domain.State.PAUSED]
        assert len(both.channel.calls) < _MESSAGES


def stored_time(folder: Path) -> datetime | None:
    """Return the time that the sender has stored for its one campaign."""
    with closing(dbapi2.connect(folder / "sender.db")) as connection:
        ((microseconds,),) = connection.execute("SELECT schedule_time FROM campaigns")
    if microseconds is None:
        return None
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


async def scheduled_for(both: Pair) -> datetime | None:
    """Return what a campaign at the status service waits for."""
    try:
        campaign = await both.status.get_campaign(campaign_id="c1")
    except (NotFoundError, UnavailableError):
        return None
    if campaign.state != State.SCHEDULED:
        return None
    return campaign.schedule_time.ToDatetime(tzinfo=UTC)


async def test_a_rescheduled_campaign_keeps_its_last_time_over_a_restore(tmp_path: Path) -> None:
    """The database put back has a draft: it is sealed again for the time it was moved to."""
    first = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    last = first + timedelta(hours=8)
    async with pair(tmp_path) as both:
        await both.create("c1", 3)
        back_up(tmp_path)
        for time in (first, last):
            await both.sender.start_campaign(campaign_id="c1", start_time=time)
        assert await scheduled_for(both) == last
        await restore(both)
        assert await support.eventually(lambda: scheduled_for(both)) == last
        assert both.channel.calls == []


async def test_a_campaign_that_was_started_early_is_not_scheduled_by_a_restore(
    tmp_path: Path,
) -> None:
    """It had begun to be sent, so it goes on at once, whatever time it waited for before."""
    later = datetime.now(UTC) + timedelta(hours=1)
    async with pair(tmp_path) as both:
        await both.create("c1", _MESSAGES)
        back_up(tmp_path)
        await both.sender.start_campaign(campaign_id="c1", start_time=later)
        await both.hold_calls()
        await both.status.start_campaign(campaign_id="c1", total=_MESSAGES, start_now=True)
        await support.eventually(lambda: both.channel.flying == both.channel.concurrency)
        await restore(both)
        both.channel.hold.set()
        assert (await ended(both, "c1")).sent == _MESSAGES
        assert both.channel.accepted() == list(range(1, _MESSAGES + 1))


async def test_start_now_starts_what_only_the_status_service_has_scheduled(
    tmp_path: Path,
) -> None:
    """The answer to an earlier start was lost: the sender does not know the time, and obeys."""
    later = datetime.now(UTC) + timedelta(hours=1)
    async with pair(tmp_path) as both:
        await both.create("c1", 5)
        await both.status.start_campaign(campaign_id="c1", total=5, start_time=later)
        started = await both.sender.start_campaign(campaign_id="c1", start_now=True)
        assert started.transitioned
        assert (await ended(both, "c1")).sent == 5


async def test_a_time_set_at_the_status_service_outlives_a_late_sender(tmp_path: Path) -> None:
    """The sender's own time is past when it comes back; the campaign was moved meanwhile."""
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    async with pair(tmp_path) as both:
        await both.create("c1", 5)
        await both.stop_status()
        with pytest.raises(UnavailableError):
            await both.sender.start_campaign(campaign_id="c1", start_time=later)
        await both.stop_sender()
        past = round((later - timedelta(days=1)).timestamp() * 1_000_000)
        with closing(dbapi2.connect(tmp_path / "sender.db")) as hand, hand:
            hand.execute("UPDATE campaigns SET schedule_time = ?", (past,))
        await both.start_status()
        await both.status.start_campaign(campaign_id="c1", total=5, start_time=later)
        await both.start_sender()

        async def phase() -> Any:
            delivery = await both.sender.get_delivery(campaign_id="c1")
            return delivery.phase == sender_pb2.GetDeliveryResponse.STARTED

        await support.eventually(phase)
        assert await scheduled_for(both) == later
        assert both.channel.calls == []


async def test_another_time_for_a_campaign_that_has_ended_is_refused(tmp_path: Path) -> None:
    """A start without a time is repeated at will; one with a new time is not passed over."""
    later = datetime.now(UTC) + timedelta(hours=1)
    async with pair(tmp_path) as both:
        await both.begin("c1", 2)
        await both.finished("c1")
        again = await both.sender.start_campaign(campaign_id="c1")
        assert (again.total, again.transitioned) == (2, False)
        with pytest.raises(FailedPreconditionError) as refused:
            await both.sender.start_campaign(campaign_id="c1", start_time=later)
        assert refused.value.reason == "TRANSITION_NOT_ALLOWED"


class Starts(FakeStatusService):
    """Keeps what StartCampaign was asked for, and schedules accordingly."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[tuple[datetime | None, bool]] = []
        self.time: datetime | None = None

    async def StartCampaign(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take the time, keep it, or begin."""
        response = await super().StartCampaign(request, context)
        time = None
        if request.HasField("start_time"):
            time = request.start_time.ToDatetime(tzinfo=UTC)
        self.starts.append((time, request.start_now))
        self.time = None if request.start_now else time or self.time
        if self.time is not None:
            response.campaign.state = State.SCHEDULED
            response.campaign.schedule_time.FromDatetime(self.time)
        return response


async def test_the_rule_of_a_scheduled_start_is_that_of_the_status_service(
    tmp_path: Path,
) -> None:
    """start_time and start_now go on as they are given; the answered time is stored."""
    first = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    last = first + timedelta(hours=8)
    fake = Starts()
    async with beside(fake, tmp_path) as both:
        both.channel.hold.clear()
        await both.create("c1", 3)
        for arguments, passed, time in (
            ({"start_time": first}, (first, False), first),
            ({}, (None, False), first),
            ({"start_time": last}, (last, False), last),
            ({}, (None, False), last),
            ({"start_now": True}, (None, True), None),
        ):
            await both.sender.start_campaign(campaign_id="c1", **arguments)
            assert fake.starts[-1] == passed
            assert stored_time(tmp_path) == time


async def test_a_time_that_is_past_freezes_nothing(tmp_path: Path) -> None:
    """A mistaken time is refused before anything is done, and does not start the campaign."""
    async with pair(tmp_path) as both:
        await both.create("c1", 3)
        past = datetime.now(UTC) - timedelta(hours=1)
        with pytest.raises(InvalidArgumentError) as refused:
            await both.sender.start_campaign(campaign_id="c1", start_time=past)
        assert "start_time" in refused.value.field_violations
        delivery = await both.sender.get_delivery(campaign_id="c1")
        assert delivery.phase == delivery.COLLECTING
        assert (await both.status.get_campaign(campaign_id="c1")).state == State.DRAFT
