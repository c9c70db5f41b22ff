"""The clients against a server in the test: requests, pages, streams, failures."""
# The methods of a servicer are named, described and typed by the contract.
# ruff: noqa: ANN001, ANN201, ARG002, D102, N802

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import grpc
import pytest

from closeout.aio import SenderClient, StatusClient
from closeout.aio.channel import open_channel
from closeout.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    UnavailableError,
)
from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2_grpc import (
    SenderServiceServicer,
    add_SenderServiceServicer_to_server,
)
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2_grpc import (
    StatusServiceServicer,
    add_StatusServiceServicer_to_server,
)

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@contextlib.asynccontextmanager
async def serving(register: Callable[[grpc.aio.Server], None]) -> AsyncIterator[str]:
    server = grpc.aio.server()
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class Status(StatusServiceServicer):
    """Records requests and answers from what the test put into ``answers``."""

    def __init__(self) -> None:
        self.requests: list[object] = []
        self.failures = 0
        self.watch_cancelled = asyncio.Event()

    async def CreateCampaign(self, request, context):
        self.requests.append(request)
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return status_pb2.CreateCampaignResponse(created=True)

    async def StartCampaign(self, request, context):
        self.requests.append(request)
        return status_pb2.StartCampaignResponse(transitioned=True)

    async def GetCampaign(self, request, context):
        if request.campaign_id == "slow":
            await asyncio.Event().wait()
        if request.campaign_id != "known":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such campaign")
        return status_pb2.GetCampaignResponse(
            campaign=status_pb2.Campaign(campaign_id="known", total=3)
        )

    async def ListResults(self, request, context):
        self.requests.append(request)
        page = int(request.page_token or 0)
        return status_pb2.ListResultsResponse(
            results=[status_pb2.Result(sequence=2 * page + n) for n in (1, 2)],
            next_page_token=str(page + 1) if page < 2 else "",
        )

    async def RepairCampaigns(self, request, context):
        self.requests.append(request)
        return status_pb2.RepairCampaignsResponse(
            diagnoses=[status_pb2.CampaignDiagnosis(action="none")]
        )

    async def WatchCampaign(self, request, context):
        if request.campaign_id != "known":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such campaign")
        try:
            yield status_pb2.WatchCampaignResponse(
                campaign=status_pb2.Campaign(campaign_id="known")
            )
            await asyncio.Event().wait()
        finally:
            self.watch_cancelled.set()

    async def ReportResults(self, request_iterator, context):
        async for request in request_iterator:
            yield status_pb2.ReportResultsResponse(acked_through=request.frame)


class Sender(SenderServiceServicer):
    """Takes uploads, or refuses them after their first message."""

    def __init__(self) -> None:
        self.uploads: list[sender_pb2.UploadRecipientsRequest] = []
        self.created: list[sender_pb2.CreateCampaignRequest] = []
        self.frozen = False

    async def BatchGetRecipients(self, request, context):
        return sender_pb2.BatchGetRecipientsResponse(
            recipients=[
                sender_pb2.RecipientEntry(sequence=sequence, address=f"{sequence}@example.com")
                for sequence in sorted(request.sequences)
            ]
        )

    async def CreateCampaign(self, request, context):
        self.created.append(request)
        return sender_pb2.CreateCampaignResponse(campaign_id="c", created=True)

    async def UploadRecipients(self, request_iterator, context):
        async for request in request_iterator:
            if self.frozen:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "frozen")
            self.uploads.append(request)
        total = sum(len(upload.recipients) for upload in self.uploads)
        return sender_pb2.UploadRecipientsResponse(accepted=total, total=total)


@pytest.fixture
async def status_servicer() -> Status:
    return Status()


@pytest.fixture
async def status(status_servicer: Status) -> AsyncIterator[StatusClient]:
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with serving(register) as address, StatusClient(address) as client:
        yield client


@pytest.fixture
async def sender_servicer() -> Sender:
    return Sender()


@pytest.fixture
async def sender(sender_servicer: Sender) -> AsyncIterator[SenderClient]:
    register = partial(add_SenderServiceServicer_to_server, sender_servicer)
    async with serving(register) as address, SenderClient(address) as client:
        yield client


async def test_a_get_returns_the_campaign_itself(status: StatusClient) -> None:
    """Where the response only wraps the campaign, the campaign is returned."""
    assert (await status.get_campaign(campaign_id="known")).total == 3


async def test_a_failure_is_a_client_error_with_its_cause(status: StatusClient) -> None:
    """The exception is the code's class, and the gRPC error is its cause."""
    with pytest.raises(NotFoundError, match="no such campaign") as caught:
        await status.get_campaign(campaign_id="other")
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)


async def test_a_call_ends_at_its_deadline(status: StatusClient) -> None:
    """A server that does not answer costs the caller its deadline, no more."""
    with pytest.raises(DeadlineExceededError):
        await status.get_campaign(campaign_id="slow", timeout_seconds=0.05)


async def test_unavailable_is_tried_again(status: StatusClient, status_servicer: Status) -> None:
    """A service that is away for a moment is asked again within the same call."""
    status_servicer.failures = 2
    assert (await status.create_campaign(display_name="x")).created
    assert len(status_servicer.requests) == 3


async def test_tries_of_one_create_share_a_request_id(
    status: StatusClient, status_servicer: Status
) -> None:
    """Without an id, the repeats of one call carry one request id; calls differ."""
    status_servicer.failures = 1
    await status.create_campaign()
    await status.create_campaign()
    first, again, second = (request.request_id for request in status_servicer.requests)
    assert first == again != second
    await status.create_campaign(campaign_id="chosen")
    assert status_servicer.requests[-1].request_id == ""


async def test_an_unreachable_service_is_unavailable() -> None:
    """Nobody listening is UnavailableError, not a hang."""
    async with serving(lambda _: None) as address:
        pass
    async with StatusClient(address) as client:
        with pytest.raises(UnavailableError):
            await client.get_campaign(campaign_id="known")


async def test_a_start_time_travels_as_it_is(status: StatusClient, status_servicer: Status) -> None:
    """A scheduled start carries the time; a start now carries none."""
    await status.start_campaign(campaign_id="c", total=0, start_time=START)
    await status.start_campaign(campaign_id="c", total=0)
    scheduled, now = status_servicer.requests
    assert scheduled.start_time.ToDatetime(tzinfo=UTC) == START
    assert not now.HasField("start_time")


async def test_results_come_over_all_pages(status: StatusClient, status_servicer: Status) -> None:
    """The caller sees one sequence of results, whatever the pages."""
    outcomes = [status_pb2.Result.FAILED]
    seen = [
        result.sequence
        async for result in status.list_results(campaign_id="c", outcomes=outcomes, page_size=2)
    ]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert [request.page_size for request in status_servicer.requests] == [2, 2, 2]
    assert status_servicer.requests[0].outcomes == outcomes


async def test_leaving_a_watch_cancels_its_call(
    status: StatusClient, status_servicer: Status
) -> None:
    """The server learns at once that nobody watches any more."""
    async with contextlib.aclosing(status.watch_campaign(campaign_id="known")) as snapshots:
        async for campaign in snapshots:
            assert campaign.campaign_id == "known"
            break
    async with asyncio.timeout(10):
        await status_servicer.watch_cancelled.wait()


async def test_watching_an_unknown_campaign_is_not_found(status: StatusClient) -> None:
    """Errors of a stream are translated too."""
    with pytest.raises(NotFoundError):
        await anext(status.watch_campaign(campaign_id="other"))


async def test_report_results_is_the_call_itself(status: StatusClient) -> None:
    """The caller reads and writes the stream of results as it likes."""
    call = status.report_results()
    await call.write(status_pb2.ReportResultsRequest(frame=1, campaign_id="c"))
    assert (await call.read()).acked_through == 1
    call.cancel()


async def test_repair_passes_its_threshold(status: StatusClient, status_servicer: Status) -> None:
    """The diagnoses are returned as a list."""
    found = (
        await status.repair_campaigns(dry_run=True, stall_threshold=timedelta(seconds=90))
    ).diagnoses
    assert [diagnosis.action for diagnosis in found] == ["none"]
    assert status_servicer.requests[0].stall_threshold.seconds == 90


async def test_a_lent_channel_stays_open(status_servicer: Status) -> None:
    """Closing a client does not close a channel that its caller made."""
    register = partial(add_StatusServiceServicer_to_server, status_servicer)
    async with serving(register) as address, open_channel(address) as channel:
        async with StatusClient(channel):
            pass
        assert (await StatusClient(channel).get_campaign(campaign_id="known")).total == 3


def recipients(count: int) -> list[sender_pb2.Recipient]:
    return [sender_pb2.Recipient(address=f"{n}@example.com") for n in range(count)]


async def test_an_upload_numbers_its_rows(sender: SenderClient, sender_servicer: Sender) -> None:
    """Each batch says the number of its first row, from 0."""
    batches = [recipients(3), recipients(2), recipients(1)]
    answer = await sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches)
    assert answer.accepted == 6
    assert [upload.first_row for upload in sender_servicer.uploads] == [0, 3, 5]


async def test_an_upload_takes_an_async_source(sender: SenderClient) -> None:
    """Batches may come from an async iterator."""

    async def batches() -> AsyncIterator[list[sender_pb2.Recipient]]:
        yield recipients(2)
        yield recipients(2)

    answer = await sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches())
    assert answer.total == 4


async def test_a_refused_upload_says_why(sender: SenderClient, sender_servicer: Sender) -> None:
    """A refusal in the middle is the server's own, however much is still to come."""
    sender_servicer.frozen = True
    for _ in range(10):
        with pytest.raises(FailedPreconditionError, match="frozen"):
            await sender.upload_recipients(
                campaign_id="c", upload_id="u", batches=(recipients(1000) for _ in range(500))
            )


async def test_a_source_that_fails_ends_the_upload(sender: SenderClient) -> None:
    """The exception of the batches is raised as it is; the upload is not finished."""

    def batches() -> Iterator[list[sender_pb2.Recipient]]:
        yield recipients(1)
        raise ValueError("row 2 is broken")

    with pytest.raises(ValueError, match="row 2 is broken"):
        await sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches())


async def test_a_create_carries_content_and_options(
    sender: SenderClient, sender_servicer: Sender
) -> None:
    """What is given is sent; what is absent stays absent."""
    answer = await sender.create_campaign(
        channel="smtp", campaign_id="c", body=sender_pb2.EmailContent(subject="s")
    )
    assert answer.campaign_id == "c"
    assert sender_servicer.created[0].content.subject == "s"
    assert not sender_servicer.created[0].HasField("options")


async def test_recipients_are_asked_for_by_sequence(sender: SenderClient) -> None:
    """Any iterable of sequences does; the entries are returned as a list."""
    found = await sender.batch_get_recipients(campaign_id="c", sequences=iter([3, 1]))
    assert [(entry.sequence, entry.address) for entry in found] == [
        (1, "1@example.com"),
        (3, "3@example.com"),
    ]
