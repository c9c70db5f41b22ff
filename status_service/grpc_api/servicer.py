"""StatusService on gRPC. Each method checks, calls the service, and converts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from closeout.status.v1 import status_pb2, status_pb2_grpc
from service_runtime.caller import caller_of
from service_runtime.errors import InvalidRequestError
from status_service.campaigns import repair
from status_service.domain import State
from status_service.grpc_api import messages, validation
from status_service.grpc_api.result_stream import ResultStream
from status_service.live.watch import watch
from status_service.recording.types import CampaignKey, Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from status_service.campaigns.service import CampaignService
    from status_service.reads.service import CampaignViews
    from status_service.recording.notifier import Notifier
    from status_service.recording.writer_pool import WriterPool

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
#: Longest display name, channel and reason.
_NAME, _CHANNEL, _REASON = 200, 64, 500


class StatusServicer(status_pb2_grpc.StatusServiceServicer):
    """The calls of ``protos/closeout/status/v1/status.proto``, which says what each promises.

    Args:
        service: changes campaigns.
        views: show them.
        writers: take the frames of result streams.
        changes: tells of changed campaigns.
        generation: the identity of the store.
        stopping: set when the service stops, to end its streams.
    """

    def __init__(
        self,
        service: CampaignService,
        views: CampaignViews,
        writers: WriterPool,
        changes: Notifier,
        *,
        generation: str,
        stopping: asyncio.Event,
    ) -> None:
        self._service = service
        self._views = views
        self._writers = writers
        self._changes = changes
        self._generation = generation
        self._stopping = stopping

    async def CreateCampaign(  # noqa: D102, N802
        self, request: status_pb2.CreateCampaignRequest, context: _Context
    ) -> status_pb2.CreateCampaignResponse:
        created = await self._service.create(
            caller_of(context),
            campaign_id=request.campaign_id and validation.campaign_id(request.campaign_id),
            request_id=validation.text("request_id", request.request_id, 64),
            display_name=validation.text("display_name", request.display_name, _NAME),
            channel=validation.text("channel", request.channel, _CHANNEL),
        )
        return status_pb2.CreateCampaignResponse(
            campaign=messages.to_campaign(created.campaign), created=created.transitioned
        )

    async def StartCampaign(  # noqa: D102, N802
        self, request: status_pb2.StartCampaignRequest, context: _Context
    ) -> status_pb2.StartCampaignResponse:
        started = await self._service.start(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            total=validation.total(request.total),
            start_time=(
                validation.moment("start_time", request.start_time)
                if request.HasField("start_time")
                else None
            ),
        )
        return status_pb2.StartCampaignResponse(
            campaign=messages.to_campaign(started.campaign), transitioned=started.transitioned
        )

    # It writes to the context: an answer may come without a frame.
    async def ReportResults(  # type: ignore[override]  # noqa: D102, N802
        self, request_iterator: Any, context: _Context
    ) -> None:
        stream = ResultStream(
            caller_of(context),
            context,
            writers=self._writers,
            changes=self._changes,
            generation=self._generation,
            stopping=self._stopping,
        )
        await stream.run(request_iterator)

    async def BatchReportResults(  # noqa: D102, N802
        self, request: status_pb2.BatchReportResultsRequest, context: _Context
    ) -> status_pb2.BatchReportResultsResponse:
        caller = caller_of(context)
        reporter = validation.text("reporter", request.reporter, 128) or caller.actor
        frames = [
            Frame(
                CampaignKey(caller.organisation, validation.campaign_id(given.campaign_id)),
                reporter,
                validation.results(given.results),
            )
            for given in request.campaigns
        ]
        receipts = await asyncio.gather(*[await self._writers.submit(frame) for frame in frames])
        if receipts and all(receipt.error for receipt in receipts):
            raise next(receipt.error for receipt in receipts if receipt.error)
        return status_pb2.BatchReportResultsResponse(
            receipts=[
                messages.to_receipt(frame.key.campaign_id, receipt)
                for frame, receipt in zip(frames, receipts, strict=True)
            ]
        )

    async def GetCampaign(  # noqa: D102, N802
        self, request: status_pb2.GetCampaignRequest, context: _Context
    ) -> status_pb2.GetCampaignResponse:
        campaign = await self._views.get(
            caller_of(context), validation.campaign_id(request.campaign_id)
        )
        return status_pb2.GetCampaignResponse(campaign=messages.to_campaign(campaign))

    async def ListCampaigns(  # noqa: D102, N802
        self, request: status_pb2.ListCampaignsRequest, context: _Context
    ) -> status_pb2.ListCampaignsResponse:
        page = await self._views.list_campaigns(
            caller_of(context),
            validation.page(request.page_size, request.page_token, default=50, most=1_000),
            states=validation.states(request.states),
            stuck_first=request.order == status_pb2.ListCampaignsRequest.STUCK_FIRST,
        )
        return status_pb2.ListCampaignsResponse(
            campaigns=map(messages.to_campaign, page.rows), next_page_token=page.next_page_token
        )

    async def WatchCampaign(  # noqa: D102, N802
        self, request: status_pb2.WatchCampaignRequest, context: _Context
    ) -> AsyncIterator[status_pb2.WatchCampaignResponse]:
        campaign_id = validation.campaign_id(request.campaign_id)
        async for campaign in watch(
            self._views, self._changes, caller_of(context), campaign_id, self._stopping
        ):
            yield status_pb2.WatchCampaignResponse(campaign=messages.to_campaign(campaign))

    async def ListResults(  # noqa: D102, N802
        self, request: status_pb2.ListResultsRequest, context: _Context
    ) -> status_pb2.ListResultsResponse:
        page = await self._views.list_results(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            validation.page(request.page_size, request.page_token, default=500, most=1_000),
            outcomes=validation.outcomes(request.outcomes),
        )
        return status_pb2.ListResultsResponse(
            results=map(messages.to_result, page.rows), next_page_token=page.next_page_token
        )

    async def ListMissingRanges(  # noqa: D102, N802
        self, request: status_pb2.ListMissingRangesRequest, context: _Context
    ) -> status_pb2.ListMissingRangesResponse:
        page = await self._views.list_missing_ranges(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            validation.page(request.page_size, request.page_token, default=100, most=1_000),
        )
        return status_pb2.ListMissingRangesResponse(
            ranges=messages.to_ranges(page.rows), next_page_token=page.next_page_token
        )

    async def PauseCampaign(  # noqa: D102, N802
        self, request: status_pb2.PauseCampaignRequest, context: _Context
    ) -> status_pb2.PauseCampaignResponse:
        changed = await self._service.change_state(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            State.PAUSED,
            reason=validation.text("reason", request.reason, _REASON),
        )
        return status_pb2.PauseCampaignResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def ResumeCampaign(  # noqa: D102, N802
        self, request: status_pb2.ResumeCampaignRequest, context: _Context
    ) -> status_pb2.ResumeCampaignResponse:
        changed = await self._service.change_state(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            State.SENDING,
            reason=validation.text("reason", request.reason, _REASON),
        )
        return status_pb2.ResumeCampaignResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def CancelCampaign(  # noqa: D102, N802
        self, request: status_pb2.CancelCampaignRequest, context: _Context
    ) -> status_pb2.CancelCampaignResponse:
        changed = await self._service.change_state(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            State.CANCELLED,
            reason=validation.text("reason", request.reason, _REASON),
        )
        return status_pb2.CancelCampaignResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def MarkComplete(  # noqa: D102, N802
        self, request: status_pb2.MarkCompleteRequest, context: _Context
    ) -> status_pb2.MarkCompleteResponse:
        if request.force and not request.reason.strip():
            raise InvalidRequestError.of({"reason": "required with force"})
        changed = await self._service.mark_complete(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            reason=validation.text("reason", request.reason, _REASON),
            force=request.force,
            dry_run=request.dry_run,
            revision=request.revision,
        )
        return status_pb2.MarkCompleteResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def RepairCampaigns(  # noqa: D102, N802
        self, request: status_pb2.RepairCampaignsRequest, context: _Context
    ) -> status_pb2.RepairCampaignsResponse:
        caller = caller_of(context)
        findings = await self._service.repair(
            caller.organisation,
            caller.actor,
            dry_run=request.dry_run,
            stall_threshold=(
                validation.threshold(request.stall_threshold)
                if request.HasField("stall_threshold")
                else None
            ),
            campaign_id=request.campaign_id and validation.campaign_id(request.campaign_id),
        )
        return messages.to_repairs(findings)

    async def ExplainCampaign(  # noqa: D102, N802
        self, request: status_pb2.ExplainCampaignRequest, context: _Context
    ) -> status_pb2.ExplainCampaignResponse:
        found, missing, more = await self._views.explain(
            caller_of(context), validation.campaign_id(request.campaign_id)
        )
        diagnosis = messages.to_diagnosis(found)
        diagnosis.repaired = False
        return status_pb2.ExplainCampaignResponse(
            diagnosis=diagnosis,
            missing_ranges=messages.to_ranges(missing),
            more_missing_ranges=more,
            explanation=repair.explain(found, missing),
        )

    async def ListTransitions(  # noqa: D102, N802
        self, request: status_pb2.ListTransitionsRequest, context: _Context
    ) -> status_pb2.ListTransitionsResponse:
        page = await self._views.list_transitions(
            caller_of(context),
            validation.campaign_id(request.campaign_id),
            validation.page(request.page_size, request.page_token, default=100, most=1_000),
        )
        return status_pb2.ListTransitionsResponse(
            transitions=map(messages.to_transition, page.rows),
            next_page_token=page.next_page_token,
        )
