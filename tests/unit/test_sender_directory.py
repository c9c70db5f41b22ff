"""The campaigns at work: which state counts, and what holds a campaign up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import (
    Decision,
    Directory,
    ProblemsChanged,
    Source,
)
from sender_service.domain import Problem, ProblemKind, State
from service_runtime.errors import StoreUnavailableError


class Row:
    """A row of ``campaigns``."""

    campaign = 1
    campaign_id = "c1"
    organisation = "default"


class Connection:
    """Keeps the problems of the last statement."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def execute(self, statement: Any) -> None:
        """Keep the problems that an UPDATE writes."""
        stored = json.loads(statement.compile().params["problems"])
        self.problems = [problem["summary"] for problem in stored]


class Store:
    """Keeps the problems that are written; does not answer while ``fails``."""

    def __init__(self) -> None:
        self.writes = 0
        self.fails = False
        self.problems: list[str] = []

    async def write(self, work: Any) -> None:
        """Count a write and keep the problems."""
        if self.fails:
            raise StoreUnavailableError("the test says so")
        self.writes += 1
        connection = Connection()
        work(connection)
        self.problems = connection.problems


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def directory(store: Store) -> Directory:
    return Directory(cast("Any", store))


@pytest.fixture
def active(directory: Directory) -> ActiveCampaign:
    return directory.add(cast("Any", Row()))


class RivalRow(Row):
    """The row of another organisation's campaign with the same id."""

    campaign = 2
    organisation = "rival"


def test_s13_a_state_concerns_the_campaign_of_its_organisation_alone(
    directory: Directory, active: ActiveCampaign
) -> None:
    """So do a new stream, and a stream that is lost for long."""
    rival = directory.add(cast("Any", RivalRow()))
    assert directory.receive("rival", "c1", State.SENDING, 9) is rival
    assert active.state is None
    assert directory.receive("default", "c1", State.PAUSED, 2) is active
    assert rival.state is State.SENDING
    directory.begin_stream("rival")
    assert directory.receive("default", "c1", State.SENDING, 1) is None
    directory.forget_states("default")
    assert (active.state, active.revision, rival.state) == (None, 0, State.SENDING)
    assert [found.number for found in directory.of("rival")] == [2]
    directory.remove(rival)
    assert list(directory.organisations) == ["default"]
    directory.status_problems.lost("rival", "gone", hold_after_seconds=60, held=False)
    assert directory.status_problems.of("default") is None


def test_s16_an_older_state_changes_nothing(directory: Directory, active: ActiveCampaign) -> None:
    """Within a stream only a higher revision counts, whichever answer brings it."""
    assert directory.receive("default", "c1", State.SENDING, 3) is active
    assert directory.receive("default", "c1", State.PAUSED, 5) is active
    assert directory.receive("default", "c1", State.SENDING, 4) is None
    assert directory.receive("default", "c1", State.SENDING, 5) is None
    assert (active.state, active.revision) == (State.PAUSED, 5)


def test_s16_a_higher_revision_of_the_same_state_counts(
    directory: Directory, active: ActiveCampaign
) -> None:
    """It changes nothing, but what is older than it is known to be."""
    directory.receive("default", "c1", State.PAUSED, 3)
    assert directory.receive("default", "c1", State.PAUSED, 7) is None
    assert directory.receive("default", "c1", State.SENDING, 6) is None
    assert (active.state, active.revision) == (State.PAUSED, 7)


def test_s16_a_new_stream_begins_with_any_revision(
    directory: Directory, active: ActiveCampaign
) -> None:
    """A restored database has lower ones; what it holds counts, and the old state till then."""
    directory.receive("default", "c1", State.PAUSED, 9)
    directory.begin_stream("default")
    assert active.state is State.PAUSED
    assert directory.receive("default", "c1", State.SENDING, 2) is active
    assert directory.receive("default", "c1", State.PAUSED, 1) is None
    assert (active.state, active.revision) == (State.SENDING, 2)


def test_a_campaign_that_is_registered_again_begins_with_any_revision(
    directory: Directory, active: ActiveCampaign
) -> None:
    """The status service had lost it within the stream."""
    directory.receive("default", "c1", State.PAUSED, 9)
    directory.forget_revision("default", "c1")
    assert directory.receive("default", "c1", State.SENDING, 2) is active


def test_a_campaign_that_is_not_at_work_has_no_state(
    directory: Directory, active: ActiveCampaign
) -> None:
    """One that was let go is not found, and one begun again knows no state."""
    directory.receive("default", "c1", State.SENDING, 3)
    directory.remove(active)
    assert directory.receive("default", "c1", State.PAUSED, 4) is None
    assert active.state is State.SENDING
    assert directory.add(cast("Any", Row())).state is None
    directory.remove(active)  # it is another one that is at work
    assert directory.find(1) is not None


def test_a_campaign_is_given_to_delivery_once(directory: Directory, active: ActiveCampaign) -> None:
    """Adding it again only has it looked at."""
    assert directory.add(cast("Any", Row())) is active
    assert directory.decisions.get_nowait() == (Decision.DELIVER, active)
    assert directory.decisions.empty()


async def test_a_change_of_state_wakes_who_waits(
    directory: Directory, active: ActiveCampaign
) -> None:
    """Also one that came before the wait began."""
    await active.wait(60)  # it was added
    directory.receive("default", "c1", State.SENDING, 1)
    async with asyncio.timeout(60):
        await active.wait(None)
    waiting = asyncio.create_task(active.wait(None))
    directory.receive("default", "c1", State.PAUSED, 2)
    async with asyncio.timeout(60):
        await waiting


async def test_a_problem_is_stored_when_it_is_new(
    directory: Directory, active: ActiveCampaign, store: Store
) -> None:
    """It keeps its time until it is over, and hides no problem of another source."""
    problem = Problem(ProblemKind.PROVIDER_UNREACHABLE, "away")
    other = Problem(ProblemKind.RESULTS_REJECTED, "rejected")
    assert await directory.set_problem(active, Source.PROVIDER, problem)
    (first,) = active.problems
    assert not await directory.set_problem(active, Source.PROVIDER, problem)
    assert await directory.set_problem(active, Source.RESULTS, other)
    changed = Problem(ProblemKind.PROVIDER_UNREACHABLE, "still away")
    assert await directory.set_problem(active, Source.PROVIDER, changed)
    assert [shown.summary for shown in active.problems] == ["still away", "rejected"]
    assert active.problems[0].since_time == first.since_time is not None
    assert await directory.set_problem(active, Source.PROVIDER, None)
    assert not await directory.set_problem(active, Source.PROVIDER, None)
    assert [shown.summary for shown in active.problems] == ["rejected"]
    assert store.writes == 4


async def test_a_problem_that_was_not_stored_is_stored_by_the_next_call(
    directory: Directory, active: ActiveCampaign, store: Store
) -> None:
    """Whether it began or ended: the call that stores it is the one that finds it new."""
    problem = Problem(ProblemKind.PROVIDER_UNREACHABLE, "away")
    for change, stored in ((problem, ["away"]), (None, [])):
        store.fails = True
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await directory.set_problem(active, Source.PROVIDER, change)
        store.fails = False
        assert await directory.set_problem(active, Source.PROVIDER, change)
        assert store.problems == stored
        assert not await directory.set_problem(active, Source.PROVIDER, change)
    assert store.writes == 2


async def test_a_change_of_the_problems_is_announced_also_where_it_is_not_stored(
    directory: Directory, active: ActiveCampaign, store: Store
) -> None:
    """What can't be stored may be the very problem; the same problem again is no news."""
    problem = Problem(ProblemKind.PROVIDER_UNREACHABLE, "away")
    store.fails = True
    with pytest.raises(StoreUnavailableError):
        await directory.set_problem(active, Source.PROVIDER, problem)
    assert directory.announcements.get_nowait() == ProblemsChanged(1)
    store.fails = False
    await directory.set_problem(active, Source.PROVIDER, problem)
    assert directory.announcements.get_nowait() == ProblemsChanged(1)
    await directory.set_problem(active, Source.PROVIDER, problem)
    assert directory.announcements.empty()


async def test_a_problem_may_say_since_when(directory: Directory, active: ActiveCampaign) -> None:
    """The first one of a source; those after it keep that time."""
    began = datetime(2026, 11, 25, 9, tzinfo=UTC)
    problem = Problem(ProblemKind.PROVIDER_UNREACHABLE, "away", since_time=began)
    await directory.set_problem(active, Source.PROVIDER, problem)
    again = replace(problem, summary="still away", since_time=None)
    await directory.set_problem(active, Source.PROVIDER, again)
    assert [(shown.summary, shown.since_time) for shown in active.problems] == [
        ("still away", began)
    ]


def test_a_loss_of_the_status_service_is_noted_once(directory: Directory) -> None:
    """It keeps the time when it began, and takes the newest reason."""
    problems = directory.status_problems
    assert problems.lost("default", "refused", hold_after_seconds=60, held=False)
    first = problems.of("default")
    assert not problems.lost("default", "timeout", hold_after_seconds=60, held=False)
    second = problems.of("default")
    assert first is not None
    assert second is not None
    assert (second.detail, second.since_time) == ("timeout", first.since_time)
    assert problems.regained("default")
    assert not problems.regained("default")
    assert problems.of("default") is None
