"""The blocking clients where they differ from the asyncio ones: threads and streams."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import queue
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

import closeout
import closeout.aio
from closeout.errors import (
    CallCancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
)
from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2 import Recipient
from closeout.sender.v1.sender_pb2_grpc import add_SenderServiceServicer_to_server
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2 import ReportResultsRequest
from closeout.status.v1.status_pb2_grpc import add_StatusServiceServicer_to_server
from closeout.sync.feed import Feed
from unit.fake_services import Sender, Status, serving

#: Every rpc of both services.
RPCS = [
    rpc
    for file in (status_pb2.DESCRIPTOR, sender_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for rpc in service.methods
]
#: Fields of requests that have another name or form in a call.
RENAMED = {"order": "stuck_first", "email": "body", "text": "body", "json": "body"}
#: How long something may take that takes a moment, seconds.
PATIENCE_SECONDS = 30


@pytest.fixture
async def status_servicer() -> Status:
    return Status()


@pytest.fixture
async def status(status_servicer: Status) -> AsyncIterator[closeout.StatusClient]:
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with serving(register) as address:
        with closeout.StatusClient(address) as client:
            yield client


@pytest.fixture
async def sender_servicer() -> Sender:
    return Sender()


@pytest.fixture
async def sender(sender_servicer: Sender) -> AsyncIterator[closeout.SenderClient]:
    register = partial(add_SenderServiceServicer_to_server, sender_servicer)
    async with serving(register) as address:
        with closeout.SenderClient(address) as client:
            yield client


async def eventually(true: Callable[[], object], *, what: str) -> None:
    """Return once ``true()`` is; fail with ``what`` after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
        await asyncio.sleep(0.01)


def frame(number: int, campaign_id: str = "c") -> ReportResultsRequest:
    return ReportResultsRequest(frame=number, campaign_id=campaign_id)


def shape(client: type, name: str) -> list[tuple[str, Any, Any]]:
    """Return the parameters of a method: name, kind, default."""
    parameters = inspect.signature(getattr(client, name)).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


@pytest.mark.parametrize("name", ["StatusClient", "SenderClient"])
def test_both_kinds_of_clients_have_the_same_methods(name: str) -> None:
    """What is written for one kind is right for the other, but for the stream of results."""
    asynchronous, blocking = getattr(closeout.aio, name), getattr(closeout, name)
    methods = [method for method in dir(asynchronous) if not method.startswith("_")]
    assert methods == [method for method in dir(blocking) if not method.startswith("_")]
    for method in set(methods) - {"report_results"}:
        assert shape(asynchronous, method) == shape(blocking, method), method
        assert not inspect.iscoroutinefunction(getattr(blocking, method))


@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
def test_every_call_of_the_contract_has_a_method(rpc: MethodDescriptor) -> None:
    """A method has the name of its rpc and takes every field of the request."""
    client = getattr(closeout, rpc.containing_service.name.replace("Service", "Client"))
    method = getattr(client, re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower())
    if rpc.name in {"ReportResults", "UploadRecipients"}:
        return  # streams: what their requests have is in the test of each
    parameters = set(inspect.signature(method).parameters)
    fields = {field.name for field in rpc.input_type.fields} - {"page_token"}
    assert {RENAMED.get(name, name) for name in fields} <= parameters


async def test_threads_share_a_client(status: closeout.StatusClient) -> None:
    """One client serves all threads of a process at once."""

    def calls() -> set[int]:
        return {status.get_campaign(campaign_id="known").total for _ in range(20)}

    with ThreadPoolExecutor(max_workers=8) as pool:
        loop = asyncio.get_running_loop()
        totals = await asyncio.gather(*(loop.run_in_executor(pool, calls) for _ in range(8)))
    assert totals == [{3}] * 8


async def test_closing_ends_the_calls_of_other_threads(
    status: closeout.StatusClient, status_servicer: Status
) -> None:
    """A thread that waits for an answer gets an error of ours when the client closes."""
    slow = asyncio.create_task(
        asyncio.to_thread(status.get_campaign, campaign_id="slow", timeout_seconds=600)
    )
    watch = status.watch_campaign(campaign_id="known")
    assert (await asyncio.to_thread(next, watch)).campaign_id == "known"
    watching = asyncio.create_task(asyncio.to_thread(next, watch, None))
    await eventually(lambda: status_servicer.deadlines, what="the slow call has arrived")
    await asyncio.to_thread(status.close)
    for waiting in (slow, watching):
        with pytest.raises(CallCancelledError):
            await waiting


async def test_a_stream_answers_every_frame_and_ends(
    status: closeout.StatusClient, status_servicer: Status
) -> None:
    """Frames go in by any iterable; the answers end after the last one."""
    answers = await asyncio.to_thread(list, status.report_results([frame(1), frame(2)]))
    assert [answer.acked_through for answer in answers] == [1, 2]
    assert [received.frame for received in status_servicer.frames] == [1, 2]


async def test_a_queue_feeds_a_stream(status: closeout.StatusClient) -> None:
    """A thread that reads answers decides by them what is written next."""
    frames: queue.SimpleQueue[ReportResultsRequest | None] = queue.SimpleQueue()
    answers = status.report_results(iter(frames.get, None))
    for number in (1, 2):
        frames.put(frame(number))
        assert (await asyncio.to_thread(next, answers)).acked_through == number
    frames.put(None)
    assert await asyncio.to_thread(next, answers, None) is None


async def test_a_refused_stream_is_an_error(status: closeout.StatusClient) -> None:
    """What ends the stream is raised where its answers are read."""
    with pytest.raises(InvalidArgumentError, match="out of order"):
        await asyncio.to_thread(list, status.report_results([frame(1, "refused")]))


async def test_frames_that_fail_are_an_error(
    status: closeout.StatusClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception is the caller's, after the answers to the frames before; no log line."""

    def frames() -> Iterator[ReportResultsRequest]:
        yield frame(1)
        raise ValueError("frame 2 is broken")

    answers = status.report_results(frames())
    assert (await asyncio.to_thread(next, answers)).acked_through == 1
    with pytest.raises(ValueError, match="frame 2 is broken"):
        await asyncio.to_thread(next, answers, None)
    assert not caplog.records


async def test_leaving_a_stream_cancels_it(
    status: closeout.StatusClient, status_servicer: Status
) -> None:
    """Closing the answers ends the stream, though its frames have not ended."""
    frames = Feed[ReportResultsRequest]()
    with contextlib.closing(status.report_results(frames)) as answers:
        frames.put(frame(1))
        assert (await asyncio.to_thread(next, answers)).acked_through == 1
    await eventually(lambda: status_servicer.streams_ended, what="the stream has ended")
    frames.close()


async def test_an_upload_reads_its_batches_in_the_thread_of_its_caller(
    sender: closeout.SenderClient, sender_servicer: Sender
) -> None:
    """A source that belongs to a thread, as a database connection does, is read there."""
    threads = set()

    def batches() -> Iterator[list[Recipient]]:
        for number in range(50):
            threads.add(threading.get_ident())
            yield [Recipient(address=f"{number}@example.com")]

    def upload() -> int:
        sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches())
        return threading.get_ident()

    assert {await asyncio.to_thread(upload)} == threads
    assert [received.first_row for received in sender_servicer.uploads] == list(range(50))


async def test_an_upload_that_is_stuck_ends_at_its_deadline(
    sender: closeout.SenderClient, sender_servicer: Sender
) -> None:
    """A service that stops reading costs the caller its deadline, however much is to come."""
    sender_servicer.stuck = True
    batch = [Recipient(address="x" * 1000)] * 1000
    read = []

    def batches() -> Iterator[list[Recipient]]:
        for number in range(1000):
            read.append(number)
            yield batch

    with pytest.raises(DeadlineExceededError):
        await asyncio.to_thread(
            sender.upload_recipients,
            campaign_id="c",
            upload_id="u",
            batches=batches(),
            timeout_seconds=0.5,
        )
    assert len(read) < 1000


async def test_closing_ends_an_upload(
    sender: closeout.SenderClient, sender_servicer: Sender
) -> None:
    """The thread that uploads gets an error of ours when the client closes."""
    sender_servicer.stuck = True
    upload = asyncio.create_task(
        asyncio.to_thread(
            sender.upload_recipients,
            campaign_id="c",
            upload_id="u",
            batches=[[Recipient(address="a")]],
        )
    )
    await eventually(lambda: sender_servicer.uploads, what="the upload has begun")
    await asyncio.to_thread(sender.close)
    with pytest.raises(CallCancelledError):
        await upload


async def test_an_upload_leaves_no_thread_behind(
    sender: closeout.SenderClient, sender_servicer: Sender
) -> None:
    """Whether it is taken, refused, or broken off by its source, gRPC's thread ends."""

    def broken() -> Iterator[list[Recipient]]:
        yield [Recipient(address="a")]
        raise ValueError

    upload = partial(sender.upload_recipients, campaign_id="c", upload_id="u")
    await asyncio.to_thread(upload, batches=[[Recipient(address="a")]])
    before = threading.active_count()
    await asyncio.to_thread(upload, batches=[[Recipient(address="a")]])
    with pytest.raises(ValueError):  # noqa: PT011 - the test's own
        await asyncio.to_thread(upload, batches=broken())
    sender_servicer.frozen = True
    with pytest.raises(closeout.FailedPreconditionError):
        await asyncio.to_thread(upload, batches=([Recipient(address="a")] for _ in range(10_000)))
    await eventually(lambda: threading.active_count() <= before, what="no thread is left")
