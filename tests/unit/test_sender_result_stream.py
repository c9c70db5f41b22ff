"""What the stream of results shows and keeps, beside what goes over it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
from structlog.testing import capture_logs

from closeout.status.v1 import status_pb2
from sender_service.campaigns.directory import Decision, Directory, Opened
from sender_service.campaigns.status_account import StatusAccount
from sender_service.domain import State
from sender_service.reporting.link import Link
from sender_service.reporting.organisations import Reporting
from sender_service.reporting.relay_queue import Page
from sender_service.reporting.result_stream import ResultStream
from sender_service.reporting.stream_watch import StreamBrokenError
from sender_service.store.outbox import ShardKey, ShardProgress
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Row(NamedTuple):
    """A row of ``campaigns``."""

    campaign: int
    campaign_id: str
    total: int = 10
    organisation: str = "default"
    finish_time: datetime = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """Answers what a test says; without an answer, it does not."""

    def __init__(self) -> None:
        self.answer: Any = None

    async def read(self, work: Any) -> Any:  # noqa: ARG002 - whatever it is
        """Give the answer."""
        if self.answer is None:
            raise StoreUnavailableError("the database does not answer")
        return self.answer

    write = read


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def directory(store: Store) -> Directory:
    return Directory(cast("Any", store))


class Nobody(StatusAccount):
    """A status service that nobody reaches."""

    def __init__(self) -> None:
        self.has_key = False

    def client(self, *_: Any) -> Any:
        """Have no client."""


@pytest.fixture
def reporting(store: Store, directory: Directory) -> Reporting:
    """What never reaches the status service."""
    return Reporting(cast("Any", store), Nobody(), directory, instance="one", replay_days=7)


@pytest.fixture
def stream(reporting: Reporting) -> ResultStream:
    """A stream that never reaches the status service."""
    return reporting._stream("default")


async def logged_lines(logged: list[MutableMapping[str, Any]], number: int) -> None:
    """Wait until so many lines are logged."""
    deadline = time.monotonic() + 60
    while len(logged) < number:
        assert time.monotonic() < deadline, logged
        await asyncio.sleep(0.01)


async def test_a_failure_of_the_store_is_none_of_the_status_service(
    directory: Directory, stream: ResultStream
) -> None:
    """It is logged as what it is, and the stream is tried again."""
    with capture_logs() as logged:
        running = asyncio.create_task(stream.run())
        await logged_lines(logged, 2)
        running.cancel()
    assert {line["event"] for line in logged} == {"reporting_retrying"}
    assert {line["error"] for line in logged} == {"the database does not answer"}
    assert directory.status_problems.of("default") is None


def test_b3_an_answer_costs_no_look_at_every_shard(directory: Directory) -> None:
    """What is unreported is counted for the line of an outage, and for nothing else."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 7

    link = Link(directory, "default", count)
    with capture_logs() as logged:
        for _ in range(3):
            link.heard()
        assert counted == 0
        link.disconnected("gone")
        link.disconnected("gone")
        for _ in range(3):
            link.heard()
    assert [line["unreported_results"] for line in logged] == [7, 7]
    assert counted == 2


async def answered(stream: ResultStream, number: int, campaign_id: str) -> None:
    """Take the answer to the request of a campaign's state."""
    stream._reconciliation.receive(
        status_pb2.CampaignState(
            campaign_id=campaign_id,
            state=status_pb2.Campaign.COMPLETED,
            revision=3,
            processed=10,
        )
    )
    await compared(stream, number)


async def compared(stream: ResultStream, number: int) -> None:
    """Take that the request of a campaign's state is answered."""
    while (frame := stream._queue.next_frame(0.0)) is not None:
        assert frame.page is None
    campaign = stream._queue.find(number)
    assert campaign is not None
    await stream._reconciliation.compare(campaign)


def kept(stream: ResultStream) -> tuple[set[str], set[int]]:
    """Return the campaigns that a stream keeps something of."""
    reconciliation = stream._reconciliation
    return set(reconciliation._standings), set(reconciliation._compared)


async def test_a_campaign_that_finishes_is_forgotten(
    store: Store, directory: Directory, reporting: Reporting, stream: ResultStream
) -> None:
    """A stream that lives for months keeps nothing of the campaigns it has reported."""
    active = directory.add(cast("Any", Row(1, "c1")))
    directory.decisions.get_nowait()
    opened = Opened(active, (ShardProgress(ShardKey(1, 1), 10, 10),))
    assert reporting._owner(opened) is stream
    stream.take(opened)
    await answered(stream, 1, "c1")
    assert kept(stream) == ({"c1"}, {1})
    store.answer = [1]
    storing = asyncio.create_task(reporting.store_acknowledgements())
    async with asyncio.timeout(60):
        assert await directory.decisions.get() == (Decision.FINISHED, active)
    storing.cancel()
    assert stream._queue.find(1) is None
    assert kept(stream) == (set(), set())


async def test_a_campaign_that_ended_lately_is_forgotten_once_compared(
    store: Store, stream: ResultStream
) -> None:
    """Its state was requested only to see whether something is lost."""
    store.answer = [Row(2, "c2")]
    await stream._reconciliation.begin_stream()
    await answered(stream, 2, "c2")
    assert stream._queue.find(2) is None
    assert kept(stream) == (set(), set())


async def test_a_state_that_came_before_its_campaign_is_obeyed(
    directory: Directory, stream: ResultStream
) -> None:
    """A pause that the stream brought while the campaign was not at work yet still counts."""
    paused = status_pb2.CampaignState(
        campaign_id="c1", state=status_pb2.Campaign.PAUSED, revision=3
    )
    stream._reconciliation.receive(paused)
    active = directory.add(cast("Any", Row(1, "c1")))
    stream.take(Opened(active, (ShardProgress(ShardKey(1, 1), 10, 0),)))
    assert active.state is None
    await compared(stream, 1)
    assert (active.state, active.revision) == (State.PAUSED, 3)


async def test_an_answer_that_says_no_state_changes_none(
    directory: Directory, stream: ResultStream
) -> None:
    """The results are reported all the same."""
    active = directory.add(cast("Any", Row(1, "c1")))
    key = ShardKey(1, 1)
    stream.take(Opened(active, (ShardProgress(key, 10, 0),)))
    await compared(stream, 1)
    assert active.state is None
    frame = stream._queue.next_frame(0.0)
    assert frame is not None
    assert frame.page == Page(key, 0, 10)


class EndingCall(StatusAccount):
    """A status service that ends each stream at once, and the call of one."""

    def __init__(self) -> None:
        self.has_key = False

    def client(self, *_: Any) -> Any:
        """Return what opens the stream."""
        return self

    def report_results(self) -> Any:
        """Return the stream."""
        return self

    async def read(self) -> None:
        """Return the end."""

    async def write(self, _: Any) -> None:
        """Take what is asked."""

    def cancel(self) -> None:
        """Do nothing."""


async def test_a_stream_is_idle_once_it_is_known_that_nothing_is_to_be_requested(
    store: Store, directory: Directory
) -> None:
    """Until then it is not closed, nor while an answer is awaited or a campaign is reported."""
    reporting = Reporting(
        cast("Any", store), EndingCall(), directory, instance="one", replay_days=7
    )
    stream = reporting._stream("default")
    with pytest.raises(StoreUnavailableError):
        await stream._stream()
    assert not stream.is_idle
    store.answer = [Row(2, "c2")]
    with pytest.raises(StreamBrokenError):
        await stream._stream()
    assert not stream.is_idle
    await answered(stream, 2, "c2")
    assert stream.is_idle
    active = directory.add(cast("Any", Row(1, "c1")))
    assert not stream.is_idle
    stream.take(Opened(active, (ShardProgress(ShardKey(1, 1), 10, 0),)))
    directory.remove(active)
    assert not stream.is_idle
    stream.finish(1)
    assert stream.is_idle
    stream.begin()
    assert not stream.is_idle


async def test_l7_a_stop_does_not_wait_for_a_stream_without_results(
    reporting: Reporting, stream: ResultStream
) -> None:
    """Its time is for results that are not acknowledged; there are none."""
    running: asyncio.Task[Any] = asyncio.create_task(asyncio.Event().wait())
    reporting._streams["default"], reporting._tasks["default"] = stream, running  # type: ignore[assignment]
    async with asyncio.timeout(20.0):
        await reporting.drain(3_600.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_l7_a_stop_waits_for_what_is_not_acknowledged_as_long_as_it_may(
    reporting: Reporting, stream: ResultStream
) -> None:
    """It ends with the last acknowledgement, or when its time is over."""
    running: asyncio.Task[Any] = asyncio.create_task(asyncio.Event().wait())
    reporting._streams["default"], reporting._tasks["default"] = stream, running  # type: ignore[assignment]
    stream._queue.add(1, "c1", [ShardProgress(ShardKey(1, 1), 10, 0)])
    async with asyncio.timeout(20.0):
        await reporting.drain(0.0)
        draining = asyncio.create_task(reporting.drain(3_600.0))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        stream.finish(1)
        await draining
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Call:
    """A stream whose answers a test gives; where it has no more, the call is cancelled."""

    def __init__(self, *answers: status_pb2.ReportResultsResponse) -> None:
        self.answers = list(answers)

    async def read(self) -> status_pb2.ReportResultsResponse:
        """Give the next answer."""
        if not self.answers:
            raise asyncio.CancelledError  # as gRPC does where somebody else cancelled the call
        return self.answers.pop(0)

    async def write(self, _: Any) -> None:
        """Take what is written, for nothing."""

    def cancel(self) -> None:
        """End."""


class Somebody(Nobody):
    """A status service that takes streams and cancels them."""

    def client(self, *_: Any) -> Any:
        """Return a client of it."""
        return SimpleNamespace(report_results=Call)


async def test_a_call_that_is_cancelled_ends_the_stream_and_not_reporting(
    store: Store, directory: Directory
) -> None:
    """It is as a stream that breaks: another one is tried. Who cancels reporting ends it."""
    store.answer = []
    account = Somebody()
    reporting = Reporting(cast("Any", store), account, directory, instance="one", replay_days=7)
    stream = reporting._stream("default")
    with capture_logs() as logged:
        running = asyncio.create_task(stream.run())
        await logged_lines(logged, 1)
        await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert {line["event"] for line in logged} == {"status_stream_disconnected"}
    assert logged[0]["reason"] == "the call was cancelled"


async def test_only_an_acknowledgement_of_a_frame_ends_a_silence(
    stream: ResultStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status service that answers and acknowledges nothing is given up in the end."""
    progressed = []
    monkeypatch.setattr(stream._writer, "progressed", lambda: progressed.append(True))
    stream._queue.add(1, "c1", (ShardProgress(ShardKey(1, 1), 5, 0),))
    frame = stream._queue.next_frame(0.0)
    assert frame is not None
    stream._queue.sent(1, frame)
    await stream._take_acknowledgements(status_pb2.ReportResultsResponse())
    assert not progressed
    await stream._take_acknowledgements(status_pb2.ReportResultsResponse(acked_through=1))
    assert progressed == [True]
