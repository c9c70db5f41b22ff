"""What the supervisor does beside deliveries: it ends campaigns, also while the sender stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.directory import Decision, Directory
from sender_service.delivery.supervisor import Supervisor
from sender_service.store import campaigns, outbox

_PATIENCE_SECONDS = 20.0


class Store:
    """Counts three sent messages of each campaign, or does what the test says."""

    def __init__(self) -> None:
        self.asked: list[Callable[..., Any]] = []
        self.error: Exception | None = None
        self.answering = asyncio.Event()
        self.answering.set()

    async def read(self, work: Any) -> Any:
        """Return the counts of a campaign, or the open campaigns: none."""
        work = getattr(work, "func", work)
        self.asked.append(work)
        await self.answering.wait()
        if self.error is not None:
            raise self.error
        return {"sent": 3} if work is outbox.counts else []

    async def was_asked(self, times: int) -> None:
        """Wait until it was asked so often."""
        await until(lambda: len(self.asked) >= times)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def directory(store: Store) -> Directory:
    return Directory(cast("Any", store))


@pytest.fixture
async def supervisor(store: Store, directory: Directory) -> AsyncIterator[Supervisor]:
    """A supervisor that runs for the length of a test, and delivers nothing."""
    nothing: Any = SimpleNamespace(campaigns_workers=None)
    supervisor = Supervisor(
        cast("Any", store), nothing, nothing, directory, nothing, instance="one"
    )
    running = asyncio.create_task(supervisor.run())
    yield supervisor
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def row(number: int) -> Any:
    """Return the row of a campaign."""
    return SimpleNamespace(
        campaign=number, campaign_id=f"c{number}", organisation="default", total=3
    )


async def until(is_so: Callable[[], Any]) -> None:
    """Let all others run until something is so."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - nothing else says it
            await asyncio.sleep(0)


def said(logged: list[MutableMapping[str, Any]], event: str) -> list[str]:
    """Return the campaigns of which something is logged."""
    return [line["campaign_id"] for line in logged if line["event"] == event]


async def test_a_campaign_that_ends_during_a_stop_is_let_go(
    store: Store, directory: Directory, supervisor: Supervisor
) -> None:
    """What is decided before it begins nothing any more, and does not keep it from ending."""
    with capture_logs() as logged:
        directory.stop()
        ends, other = directory.add(row(1)), directory.add(row(2))
        directory.decide(Decision.REOPEN)
        directory.decide(Decision.RESEAL, other)
        directory.decide(Decision.FINISHED, ends)
        await until(lambda: said(logged, "campaign_delivered"))
        await until(lambda: not supervisor._tasks)
    assert logged == [
        {
            "event": "campaign_delivered",
            "log_level": "info",
            "campaign_id": "c1",
            "organisation": "default",
            "total": 3,
            "sent": 3,
        }
    ]
    assert list(directory) == [other]
    assert store.asked == [outbox.counts]


@pytest.mark.usefixtures("supervisor")
async def test_one_look_serves_all_who_ask_before_it_begins(
    store: Store, directory: Directory
) -> None:
    """Who asks while it is made may have come too late for it, and is looked for again."""
    store.answering.clear()
    for looks in (1, 2):
        for _ in range(3):
            directory.decide(Decision.REOPEN)
        await until(directory.decisions.empty)
        await store.was_asked(looks)
    store.answering.set()
    assert store.asked == [campaigns.open_campaigns] * 2


async def test_a_defect_in_a_task_is_logged_and_its_end_is_not(
    store: Store, directory: Directory, supervisor: Supervisor
) -> None:
    """The stack names the place; other campaigns go on, and a task that ends well is no news."""
    defect = store.error = ZeroDivisionError("the test says so")
    with capture_logs() as logged:
        for number in (1, 2):
            directory.decide(Decision.FINISHED, ActiveCampaign(row(number)))
            await store.was_asked(number)
            await until(lambda: not supervisor._tasks)
            store.error = None
    lines = [line for line in logged if line["event"] != "campaign_delivered"]
    assert lines == [
        {"event": "delivery_task_failed", "log_level": "error", "exc_info": defect},
    ]
    assert said(logged, "campaign_delivered") == ["c2"]


async def test_a_task_that_a_stop_cancels_is_no_defect(
    store: Store, directory: Directory, supervisor: Supervisor
) -> None:
    """How many were not waited for is said once."""
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    store.answering.clear()
    with capture_logs() as logged:
        directory.decide(Decision.FINISHED, ActiveCampaign(row(1)))
        await store.was_asked(1)
        await supervisor.stop(0.0)
    assert [(line["event"], line.get("campaigns")) for line in logged] == [
        ("shutdown_grace_exceeded", 1)
    ]
    assert not supervisor._tasks
    assert not noise
