"""The client of the status service.

::

    async with StatusClient("127.0.0.1:50051") as status:
        campaign = await status.get_campaign(campaign_id="welcome")

Every verb raises a :class:`closeout.errors.ClientError` when its call fails.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc

from closeout.aio.channel import DEFAULT_TIMEOUT_SECONDS, ChannelOwner
from closeout.errors import from_rpc_error
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1.status_pb2_grpc import StatusServiceStub
from closeout.times import duration, timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from datetime import datetime, timedelta

    from closeout.status.v1.status_pb2_grpc import StatusServiceAsyncStub

#: Deadline of a scan over all open campaigns, seconds.
REPAIR_TIMEOUT_SECONDS = 60.0


class StatusClient(ChannelOwner):
    """One verb for each rpc of ``closeout.status.v1.StatusService``.

    Make it inside a running event loop; close it, or use it as a context manager.

    Args:
        target: an address as in ``127.0.0.1:50051``, or a ready channel, which
            stays open when the client closes.
        timeout_seconds: the deadline of each call that does not name another.
    """

    def __init__(
        self,
        target: str | grpc.aio.Channel,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(target, timeout_seconds=timeout_seconds)
        self._stub: StatusServiceAsyncStub = StatusServiceStub(self._channel)

    async def create_campaign(
        self,
        *,
        campaign_id: str = "",
        display_name: str = "",
        channel: str = "",
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> pb.CreateCampaignResponse:
        """Register a DRAFT; ``created`` is false if it was there already.

        Safe to repeat with the same ``campaign_id`` or ``request_id``. Without
        either, the repeats of this one call are told apart from new ones.

        Raises:
            AlreadyExistsError: the id is taken by other content.
            InvalidArgumentError: a field is wrong.
        """
        request = pb.CreateCampaignRequest(
            campaign_id=campaign_id,
            display_name=display_name,
            channel=channel,
            request_id=request_id or ("" if campaign_id else str(uuid.uuid4())),
            labels=labels,
        )
        return await self._call(self._stub.CreateCampaign, request, timeout_seconds)

    async def start_campaign(
        self,
        *,
        campaign_id: str,
        total: int,
        start_time: datetime | None = None,
        start_now: bool = False,
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.StartCampaignResponse:
        """Seal ``total`` and start, now or at ``start_time`` (aware).

        A campaign that is SCHEDULED keeps its time unless ``start_time`` names
        another one or ``start_now`` is true.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: sealed with another total, cancelled, or
                started already and ``start_time`` is another one.
            InvalidArgumentError: ``start_time`` is more than a minute past.
            NotFoundError: there is no such campaign.
        """
        request = pb.StartCampaignRequest(
            campaign_id=campaign_id, total=total, start_now=start_now, revision=revision
        )
        if start_time is not None:
            request.start_time.CopyFrom(timestamp(start_time))
        return await self._call(self._stub.StartCampaign, request, timeout_seconds)

    def report_results(
        self,
    ) -> grpc.aio.StreamStreamCall[pb.ReportResultsRequest, pb.ReportResultsResponse]:
        """Open the stream of results and return the gRPC call.

        It has no deadline and is never retried: after a break, open another and
        send again what was not acknowledged. Cancel it when done with it. Its
        errors are gRPC's; :func:`closeout.errors.from_rpc_error` translates them.
        Read while writing: a ``write()`` that fails may put INTERNAL in the place
        of the server's status (grpc/grpc#36066).
        """
        return self._stub.ReportResults()

    async def batch_report_results(
        self,
        campaigns: Iterable[pb.CampaignResults],
        *,
        reporter: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.BatchReportResultsResponse:
        """Store results of 1 to 100 campaigns, at most 1,000 in all.

        There is one receipt for each campaign, in order; look at its ``rejection``.
        Safe to repeat at any time.

        Raises:
            ClientError: every campaign was refused; it is the error of the first.
            InvalidArgumentError: a field is wrong; nothing was stored.
            UnavailableError: the outcome is not known; repeat the call.
        """
        request = pb.BatchReportResultsRequest(campaigns=campaigns, reporter=reporter)
        return await self._call(self._stub.BatchReportResults, request, timeout_seconds)

    async def get_campaign(
        self, *, campaign_id: str, timeout_seconds: float | None = None
    ) -> pb.Campaign:
        """Return the campaign as it is now.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.GetCampaignRequest(campaign_id=campaign_id)
        response = await self._call(self._stub.GetCampaign, request, timeout_seconds)
        return response.campaign

    async def list_campaigns(
        self,
        *,
        states: Iterable[pb.Campaign.State.ValueType] = (),
        labels: Mapping[str, str] | None = None,
        stuck_first: bool = False,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.Campaign, None]:
        """Yield the campaigns in ``states`` (none: all) with all of ``labels``.

        Newest first, or those longest without progress first. The deadline is
        that of each page.
        """
        request = pb.ListCampaignsRequest(
            page_size=page_size,
            states=list(states),
            labels=labels,
            order=pb.ListCampaignsRequest.STUCK_FIRST
            if stuck_first
            else pb.ListCampaignsRequest.NEWEST_FIRST,
        )
        async for page in self._pages(self._stub.ListCampaigns, request, timeout_seconds):
            for campaign in page.campaigns:
                yield campaign

    async def watch_campaign(self, *, campaign_id: str) -> AsyncGenerator[pb.Campaign, None]:
        """Yield the campaign as it is now, then after changes, until it has ended.

        Has no deadline and does not reconnect. Close it (``aclosing``) when it is
        left early.

        Raises:
            NotFoundError: there is no such campaign.
            UnavailableError: the service went away.
        """
        call = self._stub.WatchCampaign(pb.WatchCampaignRequest(campaign_id=campaign_id))
        try:
            async for response in call:
                yield response.campaign
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def list_results(
        self,
        *,
        campaign_id: str,
        outcomes: Iterable[pb.Result.Outcome.ValueType] = (),
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.Result, None]:
        """Yield the results with ``outcomes`` (none: all) in order of sequence.

        The deadline is that of each page.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListResultsRequest(
            campaign_id=campaign_id, outcomes=list(outcomes), page_size=page_size
        )
        async for page in self._pages(self._stub.ListResults, request, timeout_seconds):
            for result in page.results:
                yield result

    async def list_missing_ranges(
        self,
        *,
        campaign_id: str,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.SequenceRange, None]:
        """Yield the ranges of sequences without a result, in order.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListMissingRangesRequest(campaign_id=campaign_id, page_size=page_size)
        async for page in self._pages(self._stub.ListMissingRanges, request, timeout_seconds):
            for missing in page.ranges:
                yield missing

    async def list_transitions(
        self,
        *,
        campaign_id: str,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.Transition, None]:
        """Yield the audit trail, oldest first.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListTransitionsRequest(campaign_id=campaign_id, page_size=page_size)
        async for page in self._pages(self._stub.ListTransitions, request, timeout_seconds):
            for transition in page.transitions:
                yield transition

    async def pause_campaign(
        self,
        *,
        campaign_id: str,
        reason: str = "",
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.PauseCampaignResponse:
        """Stop a SENDING campaign until it is resumed.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: its state does not allow it.
            NotFoundError: there is no such campaign.
        """
        request = pb.PauseCampaignRequest(campaign_id=campaign_id, reason=reason, revision=revision)
        return await self._call(self._stub.PauseCampaign, request, timeout_seconds)

    async def resume_campaign(
        self,
        *,
        campaign_id: str,
        reason: str = "",
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.ResumeCampaignResponse:
        """Continue a PAUSED campaign.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: its state does not allow it.
            NotFoundError: there is no such campaign.
        """
        request = pb.ResumeCampaignRequest(
            campaign_id=campaign_id, reason=reason, revision=revision
        )
        return await self._call(self._stub.ResumeCampaign, request, timeout_seconds)

    async def cancel_campaign(
        self,
        *,
        campaign_id: str,
        reason: str = "",
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.CancelCampaignResponse:
        """End a campaign early, for good.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: it is COMPLETED.
            NotFoundError: there is no such campaign.
        """
        request = pb.CancelCampaignRequest(
            campaign_id=campaign_id, reason=reason, revision=revision
        )
        return await self._call(self._stub.CancelCampaign, request, timeout_seconds)

    async def mark_complete(
        self,
        *,
        campaign_id: str,
        reason: str = "",
        force: bool = False,
        dry_run: bool = False,
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.MarkCompleteResponse:
        """Complete a campaign of which every message has a result.

        With ``force`` (which needs a reason) every missing message becomes UNKNOWN
        first. ``transitioned`` is false if it was COMPLETED already.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: messages without a result are left, with the
                counts and the first missing ranges in ``metadata``; or the
                campaign is not being sent.
            InvalidArgumentError: ``force`` without a reason.
            NotFoundError: there is no such campaign.
        """
        request = pb.MarkCompleteRequest(
            campaign_id=campaign_id, reason=reason, force=force, dry_run=dry_run, revision=revision
        )
        return await self._call(self._stub.MarkComplete, request, timeout_seconds)

    async def repair_campaigns(
        self,
        *,
        dry_run: bool = False,
        stall_threshold: timedelta | None = None,
        campaign_id: str = "",
        timeout_seconds: float = REPAIR_TIMEOUT_SECONDS,
    ) -> pb.RepairCampaignsResponse:
        """Diagnose all open campaigns (or one) and repair what is safe.

        Safe at any time; never ends a campaign that has pending messages.
        """
        request = pb.RepairCampaignsRequest(dry_run=dry_run, campaign_id=campaign_id)
        if stall_threshold is not None:
            request.stall_threshold.CopyFrom(duration(stall_threshold))
        return await self._call(self._stub.RepairCampaigns, request, timeout_seconds)

    async def explain_campaign(
        self, *, campaign_id: str, timeout_seconds: float | None = None
    ) -> pb.ExplainCampaignResponse:
        """Say why the campaign is not complete, and what to do.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ExplainCampaignRequest(campaign_id=campaign_id)
        return await self._call(self._stub.ExplainCampaign, request, timeout_seconds)
