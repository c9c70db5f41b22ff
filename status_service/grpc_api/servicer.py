"""StatusService on gRPC. Each method checks its request, calls the service, and converts."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from closeout.status.v1 import status_pb2, status_pb2_grpc
from service_runtime.access import require
from service_runtime.caller import caller_of
from service_runtime.errors import InvalidRequestError
from service_runtime.sampled_log import SampledLog
from status_service.access.scopes import repair_scope
from status_service.domain import State
from status_service.grpc_api import messages, validation
from status_service.grpc_api.result_stream import LONGEST_ID, ResultStream
from status_service.live.watch import watch
from status_service.recording.types import CampaignKey, Frame, Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from status_service.campaigns.service import CampaignService
    from status_service.campaigns.types import Changed
    from status_service.live.looks import Looks
    from status_service.reads.service import CampaignViews
    from status_service.recording.batch import BatchRecorder
    from status_service.recording.notifier import Notifier
    from status_service.recording.writer_pool import WriterPool
    from status_service.retention.service import RetentionService

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class StatusServicer(status_pb2_grpc.StatusServiceServicer):
    """The calls of ``protos/closeout/status/v1/status.proto``, which says what each promises.

    Args:
        service: changes campaigns.
        views: read them.
        writer_pool: takes the frames of result streams.
        batch_recorder: stores the results of unary calls.
        notifier: announces changed campaigns.
        looks: looks at campaigns for those who watch; somebody runs it.
        retention: deletes campaigns and erases addresses.
        generation: the identity of the store.
        stopping: set when the service stops, to end its streams.
    """

    def __init__(
        self,
        service: CampaignService,
        views: CampaignViews,
        writer_pool: WriterPool,
        batch_recorder: BatchRecorder,
        notifier: Notifier,
        *,
        looks: Looks,
        retention: RetentionService,
        generation: str,
        stopping: asyncio.Event,
    ) -> None:
        self._service = service
        self._views = views
        self._writer_pool = writer_pool
        self._batch_recorder = batch_recorder
        self._notifier = notifier
        self.looks, self._snapshots = looks, messages.Snapshots()
        self._retention = retention
        self._rejection_log = SampledLog("results_rejected")
        self._generation = generation
        self._stopping = stopping

    async def CreateCampaign(  # noqa: D102, N802
        self, request: status_pb2.CreateCampaignRequest, context: _Context
    ) -> status_pb2.CreateCampaignResponse:
        new = validation.new_campaign(request)
        created = await self._service.create(caller_of(context), new)
        return status_pb2.CreateCampaignResponse(
            campaign=messages.to_campaign(created.campaign), created=created.transitioned
        )

    async def StartCampaign(  # noqa: D102, N802
        self, request: status_pb2.StartCampaignRequest, context: _Context
    ) -> status_pb2.StartCampaignResponse:
        campaign_id, order = validation.start_order(request)
        started = await self._service.start(caller_of(context), campaign_id, order)
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
            writer_pool=self._writer_pool,
            notifier=self._notifier,
            rejection_log=self._rejection_log,
            generation=self._generation,
            stopping=self._stopping,
        )
        await stream.run(request_iterator)

    async def BatchReportResults(  # noqa: D102, N802
        self, request: status_pb2.BatchReportResultsRequest, context: _Context
    ) -> status_pb2.BatchReportResultsResponse:
        caller = caller_of(context)
        try:
            reporter, reported = validation.batch(request)
        except InvalidRequestError as error:
            # As of a frame of a stream: nothing else logs what is refused.
            named = [campaign.campaign_id for campaign in request.campaigns[:1]]
            self._rejection_log.add_error(
                error, campaign_id="".join(named)[:LONGEST_ID], organisation=caller.organisation
            )
            raise
        origin = Origin()
        frames = [
            Frame(
                CampaignKey(caller.organisation, campaign.campaign_id),
                reporter or caller.actor,
                campaign.results,
                campaign.problems,
                origin,
                caller if caller.key_id else None,
            )
            for campaign in reported
        ]
        receipts = await self._batch_recorder.record(frames)
        for frame, receipt in zip(frames, receipts, strict=True):
            if receipt.error is not None:
                self._rejection_log.add_error(
                    receipt.error,
                    campaign_id=frame.key.campaign_id,
                    organisation=frame.key.organisation,
                )
        if receipts[0].error is not None and all(receipt.error for receipt in receipts):
            raise receipts[0].error
        return status_pb2.BatchReportResultsResponse(
            receipts=[
                messages.to_receipt(frame.key.campaign_id, receipt)
                for frame, receipt in zip(frames, receipts, strict=True)
            ]
        )

    async def GetCampaign(  # noqa: D102, N802
        self, request: status_pb2.GetCampaignRequest, context: _Context
    ) -> status_pb2.GetCampaignResponse:
        campaign, pace = await self._views.get_with_pace(
            caller_of(context), validation.campaign_id(request)
        )
        return status_pb2.GetCampaignResponse(campaign=messages.to_campaign(campaign, pace))

    async def ListCampaigns(  # noqa: D102, N802
        self, request: status_pb2.ListCampaignsRequest, context: _Context
    ) -> status_pb2.ListCampaignsResponse:
        requested = validation.campaign_list(request)
        page, paces, now = await self._views.list_campaigns(
            caller_of(context),
            requested.page,
            states=requested.states,
            labels=requested.labels,
            stuck_first=requested.stuck_first,
        )
        return status_pb2.ListCampaignsResponse(
            campaigns=[messages.to_campaign(row, paces[row.campaign]) for row in page.rows],
            next_page_token=page.next_page_token,
            read_time=messages.to_timestamp(now),
        )

    async def WatchCampaign(  # noqa: D102, N802
        self, request: status_pb2.WatchCampaignRequest, context: _Context
    ) -> AsyncIterator[status_pb2.WatchCampaignResponse]:
        campaign_id = validation.campaign_id(request)
        async with aclosing(watch(self.looks, caller_of(context), campaign_id)) as snapshots:
            async for campaign in snapshots:
                yield self._snapshots.of(campaign)

    async def ListResults(  # noqa: D102, N802
        self, request: status_pb2.ListResultsRequest, context: _Context
    ) -> status_pb2.ListResultsResponse:
        requested = validation.result_page(request)
        page = await self._views.list_results(
            caller_of(context),
            requested.campaign_id,
            requested.page,
            outcomes=requested.outcomes,
            codes=requested.codes,
        )
        return status_pb2.ListResultsResponse(
            results=map(messages.to_result, page.rows), next_page_token=page.next_page_token
        )

    async def ListMissingRanges(  # noqa: D102, N802
        self, request: status_pb2.ListMissingRangesRequest, context: _Context
    ) -> status_pb2.ListMissingRangesResponse:
        campaign_id, requested = validation.page(request, default=100)
        page = await self._views.list_missing_ranges(caller_of(context), campaign_id, requested)
        return status_pb2.ListMissingRangesResponse(
            ranges=messages.to_ranges(page.rows), next_page_token=page.next_page_token
        )

    async def PauseCampaign(  # noqa: D102, N802
        self, request: status_pb2.PauseCampaignRequest, context: _Context
    ) -> status_pb2.PauseCampaignResponse:
        changed = await self._change_state(validation.change(request), context, State.PAUSED)
        return status_pb2.PauseCampaignResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def ResumeCampaign(  # noqa: D102, N802
        self, request: status_pb2.ResumeCampaignRequest, context: _Context
    ) -> status_pb2.ResumeCampaignResponse:
        changed = await self._change_state(validation.change(request), context, State.SENDING)
        return status_pb2.ResumeCampaignResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def CancelCampaign(  # noqa: D102, N802
        self, request: status_pb2.CancelCampaignRequest, context: _Context
    ) -> status_pb2.CancelCampaignResponse:
        changed = await self._change_state(validation.change(request), context, State.CANCELLED)
        return status_pb2.CancelCampaignResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def _change_state(
        self, requested: validation.ChangeRequest, context: _Context, target: State
    ) -> Changed:
        return await self._service.change_state(
            caller_of(context),
            requested.campaign_id,
            target,
            reason=requested.reason,
            revision=requested.revision,
        )

    async def DeleteCampaign(  # noqa: D102, N802
        self, request: status_pb2.DeleteCampaignRequest, context: _Context
    ) -> status_pb2.DeleteCampaignResponse:
        requested = validation.change(request)
        deleted = await self._retention.delete(
            caller_of(context),
            requested.campaign_id,
            reason=requested.reason,
            revision=requested.revision,
            dry_run=request.dry_run,
        )
        return messages.to_deleted(deleted)

    async def EraseAddress(  # noqa: D102, N802
        self, request: status_pb2.EraseAddressRequest, context: _Context
    ) -> status_pb2.EraseAddressResponse:
        address, page = validation.erasure(request)
        erased = await self._retention.erase(
            caller_of(context), address, page, dry_run=request.dry_run
        )
        return status_pb2.EraseAddressResponse(
            results=erased.results,
            failure_groups=erased.groups,
            next_page_token=erased.next_page_token,
        )

    async def MarkComplete(  # noqa: D102, N802
        self, request: status_pb2.MarkCompleteRequest, context: _Context
    ) -> status_pb2.MarkCompleteResponse:
        requested = validation.change(request, needs_reason=request.force)
        changed = await self._service.mark_complete(
            caller_of(context),
            requested.campaign_id,
            reason=requested.reason,
            force=request.force,
            dry_run=request.dry_run,
            revision=requested.revision,
        )
        return status_pb2.MarkCompleteResponse(
            campaign=messages.to_campaign(changed.campaign), transitioned=changed.transitioned
        )

    async def RepairCampaigns(  # noqa: D102, N802
        self, request: status_pb2.RepairCampaignsRequest, context: _Context
    ) -> status_pb2.RepairCampaignsResponse:
        caller = caller_of(context)
        require(caller, repair_scope(dry_run=request.dry_run))
        requested = validation.repair(request)
        findings = await self._service.repair(
            caller,
            dry_run=request.dry_run,
            stall_threshold=requested.stall_threshold,
            campaign_id=requested.campaign_id,
        )
        return messages.to_repairs(findings)

    async def ExplainCampaign(  # noqa: D102, N802
        self, request: status_pb2.ExplainCampaignRequest, context: _Context
    ) -> status_pb2.ExplainCampaignResponse:
        found, missing, more = await self._views.explain(
            caller_of(context), validation.campaign_id(request)
        )
        diagnosis = messages.to_diagnosis(found)
        diagnosis.repaired = False
        return status_pb2.ExplainCampaignResponse(
            diagnosis=diagnosis,
            missing_ranges=messages.to_ranges(missing),
            more_missing_ranges=more,
            explanation=found.explanation,
        )

    async def ListTransitions(  # noqa: D102, N802
        self, request: status_pb2.ListTransitionsRequest, context: _Context
    ) -> status_pb2.ListTransitionsResponse:
        campaign_id, requested = validation.page(request, default=100)
        page = await self._views.list_transitions(caller_of(context), campaign_id, requested)
        return status_pb2.ListTransitionsResponse(
            transitions=map(messages.to_transition, page.rows),
            next_page_token=page.next_page_token,
        )

    async def ListSamples(  # noqa: D102, N802
        self, request: status_pb2.ListSamplesRequest, context: _Context
    ) -> status_pb2.ListSamplesResponse:
        samples = await self._views.list_samples(
            caller_of(context), validation.campaign_id(request)
        )
        return status_pb2.ListSamplesResponse(samples=map(messages.to_sample, samples))

    async def ListFailures(  # noqa: D102, N802
        self, request: status_pb2.ListFailuresRequest, context: _Context
    ) -> status_pb2.ListFailuresResponse:
        campaign_id, outcomes = validation.failures(request)
        groups = await self._views.list_failures(caller_of(context), campaign_id, outcomes=outcomes)
        return status_pb2.ListFailuresResponse(groups=map(messages.to_failure_group, groups))
