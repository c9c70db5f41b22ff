"""Both services as far as the clients need them, and both kinds of clients as one.

The blocking client of a test runs in threads beside the event loop of the server, so
that a test awaits it as it awaits the asyncio one, and one test shows both.
"""
# The methods of a servicer are named, described and typed by the contract.
# ruff: noqa: ANN001, ANN201, ARG002, D102, N802

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

import grpc
from google.rpc import error_details_pb2
from google.rpc import status_pb2 as google_status_pb2
from grpc_status import rpc_status

import closeout
import closeout.aio
from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2_grpc import SenderServiceServicer
from closeout.status.v1 import status_pb2
from closeout.status.v1.status_pb2_grpc import StatusServiceServicer

_END = object()

#: What MarkComplete of the campaign "half" fails with.
NOT_FULLY_PROCESSED = google_status_pb2.Status(
    code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message="no result for 5-10"
)
NOT_FULLY_PROCESSED.details.add().Pack(
    error_details_pb2.ErrorInfo(
        reason="CAMPAIGN_NOT_FULLY_PROCESSED", domain="closeout", metadata={"pending": "6"}
    )
)


@contextlib.asynccontextmanager
async def serving(register: Callable[[grpc.aio.Server], None]) -> AsyncIterator[str]:
    """Serve on a free port; yield the address."""
    server = grpc.aio.server()
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class InThreads:
    """A blocking client with the methods of the asyncio one: each runs in a thread."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if inspect.isgeneratorfunction(method):
            return lambda **arguments: _iterated(method(**arguments))
        return lambda *arguments, **named: asyncio.to_thread(method, *arguments, **named)


async def _iterated(generator: Generator[Any]) -> AsyncGenerator[Any, None]:
    try:
        while (item := await asyncio.to_thread(next, generator, _END)) is not _END:
            yield item
    finally:
        generator.close()


@contextlib.asynccontextmanager
async def connected(kind: str, name: str, target: Any) -> AsyncIterator[Any]:
    """Yield a client of either kind, to be awaited."""
    if kind == "asyncio":
        async with getattr(closeout.aio, name)(target) as client:
            yield client
    else:
        with getattr(closeout, name)(target) as client:
            yield InThreads(client)


class Status(StatusServiceServicer):
    """Records requests and answers from what the test put into it."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.deadlines: list[float] = []
        self.failures = 0
        self.watch_cancelled = asyncio.Event()
        self.streams_ended = 0
        self.frames: list[status_pb2.ReportResultsRequest] = []

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
        self.deadlines.append(context.time_remaining())
        if request.campaign_id == "slow":
            await asyncio.Event().wait()
        if request.campaign_id == "refused once" and len(self.deadlines) == 1:
            await context.abort(grpc.StatusCode.CANCELLED, "")
        if request.campaign_id not in {"known", "refused once"}:
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

    async def ExplainCampaign(self, request, context):
        self.deadlines.append(context.time_remaining())
        return status_pb2.ExplainCampaignResponse(explanation="because")

    async def MarkComplete(self, request, context):
        self.deadlines.append(context.time_remaining())
        if request.campaign_id == "half":
            await context.abort_with_status(rpc_status.to_status(NOT_FULLY_PROCESSED))
        return status_pb2.MarkCompleteResponse(transitioned=True)

    async def RepairCampaigns(self, request, context):
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
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
        try:
            async for request in request_iterator:
                if request.campaign_id == "refused":
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "out of order")
                self.frames.append(request)
                yield status_pb2.ReportResultsResponse(acked_through=request.frame)
        finally:
            self.streams_ended += 1

    async def BatchReportResults(self, request, context):
        self.requests.append(request)
        receipts = []
        for campaign in request.campaigns:
            if campaign.campaign_id == "unsealed":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not sealed")
            receipts.append(
                status_pb2.BatchReportResultsResponse.Receipt(
                    campaign_id=campaign.campaign_id,
                    new_results=len(campaign.results),
                    campaign_state=status_pb2.CampaignState(
                        campaign_id=campaign.campaign_id,
                        state=status_pb2.Campaign.SENDING,
                        revision=len(self.requests),
                    ),
                )
            )
        return status_pb2.BatchReportResultsResponse(receipts=receipts)


class Sender(SenderServiceServicer):
    """Takes uploads, or refuses them after their first message."""

    def __init__(self) -> None:
        self.uploads: list[sender_pb2.UploadRecipientsRequest] = []
        self.created: list[sender_pb2.CreateCampaignRequest] = []
        self.tests: list[sender_pb2.SendTestRequest] = []
        self.started: list[sender_pb2.StartCampaignRequest] = []
        self.resent: list[sender_pb2.ResendCampaignRequest] = []
        self.frozen = False
        self.stuck = False

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

    async def SendTest(self, request, context):
        self.tests.append(request)
        return sender_pb2.SendTestResponse(
            attempts=[
                sender_pb2.SendTestResponse.Attempt(address=recipient.address)
                for recipient in request.recipients
            ]
        )

    async def CheckSender(self, request, context):
        name = f"channel {request.channel or 'smtp'}"
        return sender_pb2.CheckSenderResponse(
            checks=[sender_pb2.CheckSenderResponse.Check(name=name, ok=True)]
        )

    async def StartCampaign(self, request, context):
        self.started.append(request)
        return sender_pb2.StartCampaignResponse(total=3, left_out=1)

    async def ResendCampaign(self, request, context):
        self.resent.append(request)
        return sender_pb2.ResendCampaignResponse(campaign_id="c", created=True, total=2)

    async def UploadRecipients(self, request_iterator, context):
        async for request in request_iterator:
            if self.frozen:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "frozen")
            self.uploads.append(request)
            if self.stuck:
                await asyncio.Event().wait()
        total = sum(len(upload.recipients) for upload in self.uploads)
        return sender_pb2.UploadRecipientsResponse(accepted=total, total=total)

    async def ListShards(self, request, context):
        page = int(request.page_token or 0)
        return sender_pb2.ListShardsResponse(
            shards=[sender_pb2.Shard(shard=page + 1)], next_page_token="" if page else "1"
        )
