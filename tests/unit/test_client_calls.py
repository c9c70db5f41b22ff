"""The clients of the status service against a server: requests, pages, streams, failures.

Each test runs with the asyncio client and with the blocking one, unless its name says
which: what they do is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest

import closeout
import closeout.aio
import closeout.aio.channel
import closeout.sync.channel
from closeout.errors import (
    CallCancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    UnavailableError,
)
from closeout.sender.v1.sender_pb2 import Recipient
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2_grpc import add_StatusServiceServicer_to_server
from unit.fake_services import Status, connected, serving

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(params=["asyncio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of client."""
    return str(request.param)


@pytest.fixture
async def status_servicer() -> Status:
    return Status()


@pytest.fixture
async def status(kind: str, status_servicer: Status) -> AsyncIterator[Any]:
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with serving(register) as address, connected(kind, "StatusClient", address) as client:
        yield client


async def test_a_get_returns_the_campaign_itself(status: Any) -> None:
    """Where the response only wraps the campaign, the campaign is returned."""
    assert (await status.get_campaign(campaign_id="known")).total == 3


async def test_a_call_that_grpc_refused_is_made_again(status: Any, status_servicer: Status) -> None:
    """It ends as CANCELLED, with no reason, where calls come faster than they are answered."""
    assert (await status.get_campaign(campaign_id="refused once")).total == 3
    assert len(status_servicer.deadlines) == 2


async def test_a_failure_is_a_client_error_with_its_cause(status: Any) -> None:
    """The exception is the code's class, and the gRPC error is its cause."""
    with pytest.raises(NotFoundError, match="no such campaign") as caught:
        await status.get_campaign(campaign_id="other")
    assert isinstance(caught.value.__cause__, grpc.RpcError)


async def test_details_of_a_failure_reach_the_caller(status: Any) -> None:
    """Reason and metadata are those that the service sent."""
    with pytest.raises(FailedPreconditionError, match="no result for 5-10") as caught:
        await status.mark_complete(campaign_id="half")
    assert caught.value.reason == "CAMPAIGN_NOT_FULLY_PROCESSED"
    assert caught.value.metadata == {"pending": "6"}


async def test_a_call_ends_at_its_deadline(status: Any) -> None:
    """A server that does not answer costs the caller its deadline, no more."""
    with pytest.raises(DeadlineExceededError):
        await status.get_campaign(campaign_id="slow", timeout_seconds=0.05)


async def test_unavailable_is_tried_again(status: Any, status_servicer: Status) -> None:
    """A service that is away for a moment is asked again within the same call."""
    status_servicer.failures = 2
    assert (await status.create_campaign(display_name="x")).created
    assert len(status_servicer.requests) == 3


async def test_tries_of_one_create_share_a_request_id(status: Any, status_servicer: Status) -> None:
    """Without an id, the repeats of one call carry one request id; calls differ."""
    status_servicer.failures = 1
    await status.create_campaign()
    await status.create_campaign()
    first, again, second = (request.request_id for request in status_servicer.requests)
    assert first == again != second
    await status.create_campaign(campaign_id="chosen")
    assert status_servicer.requests[-1].request_id == ""


async def test_an_unreachable_service_is_unavailable(kind: str) -> None:
    """Nobody listening is UnavailableError, not a hang."""
    async with serving(lambda _: None) as address:
        pass
    async with connected(kind, "StatusClient", address) as client:
        with pytest.raises(UnavailableError):
            await client.get_campaign(campaign_id="known")


async def test_a_start_time_travels_as_it_is(status: Any, status_servicer: Status) -> None:
    """A scheduled start carries the time; a start now carries none."""
    await status.start_campaign(campaign_id="c", total=0, start_time=START)
    await status.start_campaign(campaign_id="c", total=0)
    scheduled, now = status_servicer.requests
    assert scheduled.start_time.ToDatetime(tzinfo=UTC) == START
    assert not now.HasField("start_time")


async def test_results_come_over_all_pages(status: Any, status_servicer: Status) -> None:
    """The caller sees one sequence of results, whatever the pages."""
    outcomes = [status_pb2.Result.FAILED]
    seen = [
        result.sequence
        async for result in status.list_results(campaign_id="c", outcomes=outcomes, page_size=2)
    ]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert [request.page_size for request in status_servicer.requests] == [2, 2, 2]
    assert status_servicer.requests[0].outcomes == outcomes


async def test_leaving_a_watch_cancels_its_call(status: Any, status_servicer: Status) -> None:
    """The server learns at once that nobody watches any more."""
    async with contextlib.aclosing(status.watch_campaign(campaign_id="known")) as snapshots:
        async for campaign in snapshots:
            assert campaign.campaign_id == "known"
            break
    async with asyncio.timeout(10):
        await status_servicer.watch_cancelled.wait()


async def test_watching_an_unknown_campaign_is_not_found(status: Any) -> None:
    """Errors of a stream are translated too."""
    with pytest.raises(NotFoundError):
        await anext(status.watch_campaign(campaign_id="other"))


async def test_report_results_of_asyncio_is_the_call_itself(status_servicer: Status) -> None:
    """The caller reads and writes the stream of results as it likes."""
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with serving(register) as address, closeout.aio.StatusClient(address) as status:
        call = status.report_results()
        await call.write(status_pb2.ReportResultsRequest(frame=1, campaign_id="c"))
        answer = await call.read()
        assert isinstance(answer, status_pb2.ReportResultsResponse)
        assert answer.acked_through == 1
        call.cancel()


async def test_a_report_is_cut_into_calls(status: Any, status_servicer: Status) -> None:
    """Any number of results are stored, 1,000 a call; the receipt is that of all calls."""
    results = (
        status_pb2.Result(sequence=n, outcome=status_pb2.Result.SENT) for n in range(1, 2002)
    )
    receipt = await status.report(results, campaign_id="c", reporter="me")
    sizes = [len(request.campaigns[0].results) for request in status_servicer.requests]
    assert sizes == [1000, 1000, 1]
    assert {request.reporter for request in status_servicer.requests} == {"me"}
    assert (receipt.campaign_id, receipt.new_results) == ("c", 2001)
    assert receipt.campaign_state.revision == 3


async def test_a_report_of_nothing_returns_the_state(status: Any, status_servicer: Status) -> None:
    """One call without results asks where the campaign stands."""
    receipt = await status.report([], campaign_id="c")
    assert [len(request.campaigns[0].results) for request in status_servicer.requests] == [0]
    assert receipt.campaign_state.state == status_pb2.Campaign.SENDING


async def test_a_refused_report_is_an_error(status: Any) -> None:
    """Results of one campaign are stored, or the caller gets the reason as an exception."""
    with pytest.raises(FailedPreconditionError, match="not sealed"):
        await status.report([status_pb2.Result(sequence=1)], campaign_id="unsealed")


async def test_calls_that_read_every_result_have_a_minute(
    status: Any, status_servicer: Status
) -> None:
    """A large campaign is explained and repaired within the default; others have 10 s."""
    await status.explain_campaign(campaign_id="c")
    await status.mark_complete(campaign_id="c")
    await status.repair_campaigns()
    await status.get_campaign(campaign_id="known")
    # What arrives is a little more: gRPC rounds up.
    assert [round(deadline, -1) for deadline in status_servicer.deadlines] == [60, 60, 60, 10]


async def test_a_call_that_writes_every_result_has_an_hour(
    status: Any, status_servicer: Status
) -> None:
    """Millions of messages are recorded by force within the default."""
    await status.mark_complete(campaign_id="c", force=True, reason="gone")
    assert status_servicer.deadlines == pytest.approx([3_600], rel=0.01)


async def test_repair_passes_its_threshold(status: Any, status_servicer: Status) -> None:
    """The diagnoses are returned as a list."""
    found = (
        await status.repair_campaigns(dry_run=True, stall_threshold=timedelta(seconds=90))
    ).diagnoses
    assert [diagnosis.action for diagnosis in found] == ["none"]
    assert status_servicer.requests[0].stall_threshold.seconds == 90


async def test_a_lent_channel_stays_open(kind: str, status_servicer: Status) -> None:
    """Closing a client does not close a channel that its caller made."""
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(register))
        if kind == "asyncio":
            aio_channel = closeout.aio.channel.open_channel(address)
            channel: Any = await stack.enter_async_context(aio_channel)
        else:
            channel = stack.enter_context(closeout.sync.channel.open_channel(address))
        async with connected(kind, "StatusClient", channel):
            pass
        async with connected(kind, "StatusClient", channel) as client:
            assert (await client.get_campaign(campaign_id="known")).total == 3


async def test_a_call_on_a_closed_client_is_cancelled(kind: str, status_servicer: Status) -> None:
    """As those are that ran when it was closed: unary, a watch, a report; closing again is fine."""
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with serving(register) as address, connected(kind, "StatusClient", address) as client:
        await client.get_campaign(campaign_id="known")
        await client.close()
        with pytest.raises(CallCancelledError, match="the client is closed"):
            await client.get_campaign(campaign_id="known")
        with pytest.raises(CallCancelledError, match="the client is closed"):
            await anext(aiter(client.watch_campaign(campaign_id="known")))


async def test_a_stream_or_an_upload_of_a_closed_client_is_cancelled() -> None:
    """Whichever kind of client: the streams that the caller writes begin no other way."""
    batches = [[Recipient(address="a@example.com")]]
    status = closeout.aio.StatusClient("127.0.0.1:1")
    sender = closeout.aio.SenderClient("127.0.0.1:1")
    await status.close()
    await sender.close()
    with pytest.raises(CallCancelledError, match="the client is closed"):
        status.report_results()
    with pytest.raises(CallCancelledError, match="the client is closed"):
        await sender.upload_recipients(campaign_id="a", upload_id="u", batches=batches)
    with closeout.StatusClient("127.0.0.1:1") as blocking:
        pass
    with pytest.raises(CallCancelledError, match="the client is closed"):
        next(blocking.report_results([]))
    with closeout.SenderClient("127.0.0.1:1") as uploading:
        pass
    with pytest.raises(CallCancelledError, match="the client is closed"):
        uploading.upload_recipients(campaign_id="a", upload_id="u", batches=batches)


@pytest.mark.parametrize("claim", ["x" * 129, "M\xfcller@desk", "a\nb", " padded"])
async def test_a_claim_that_metadata_can_not_have_is_refused(claim: str) -> None:
    """Where the client is made, whichever it is, in words that say what is taken."""
    for client in (
        closeout.aio.StatusClient,
        closeout.aio.SenderClient,
        closeout.StatusClient,
        closeout.SenderClient,
    ):
        with pytest.raises(ValueError, match="at most 128 printable ASCII characters"):
            client("127.0.0.1:1", on_behalf_of=claim)
