"""What a client of the status service can ask about campaigns."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from closeout.aio.result_stream import ResultReporter
from closeout.connection import SCAN_TIMEOUT_SECONDS
from closeout.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence


class CampaignReader(ResultReporter):
    """The part of a client of the status service that reads and changes nothing."""

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

        Raises:
            InvalidArgumentError: ``page_size`` is negative.
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

        A watch has no deadline and does not reconnect. Close it (``aclosing``) where
        it is left early; that cancels the call.

        Raises:
            NotFoundError: there is no such campaign.
            UnavailableError: the service went away.
        """
        request = pb.WatchCampaignRequest(campaign_id=campaign_id)
        async with aclosing(self._responses(self._stub.WatchCampaign, request)) as responses:
            async for response in responses:
                yield response.campaign

    async def list_results(
        self,
        *,
        campaign_id: str,
        outcomes: Iterable[pb.Result.Outcome.ValueType] = (),
        codes: Iterable[str] = (),
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.Result, None]:
        """Yield the results with ``outcomes`` and ``codes`` (none: all) in order of sequence.

        The deadline is that of each page.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListResultsRequest(
            campaign_id=campaign_id,
            outcomes=list(outcomes),
            codes=list(codes),
            page_size=page_size,
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

        The deadline is that of each page.

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
        """Yield the audit trail, oldest first. The deadline is that of each page.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListTransitionsRequest(campaign_id=campaign_id, page_size=page_size)
        async for page in self._pages(self._stub.ListTransitions, request, timeout_seconds):
            for transition in page.transitions:
                yield transition

    async def list_samples(
        self, *, campaign_id: str, timeout_seconds: float | None = None
    ) -> Sequence[pb.CounterSample]:
        """Return the counters over time, oldest first.

        They are those at the start, about every ten seconds while they changed, at the end,
        and now; the older ones of a long campaign are further apart.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListSamplesRequest(campaign_id=campaign_id)
        response = await self._call(self._stub.ListSamples, request, timeout_seconds)
        return response.samples

    async def list_failures(
        self,
        *,
        campaign_id: str,
        outcomes: Iterable[pb.Result.Outcome.ValueType] = (),
        timeout_seconds: float | None = None,
    ) -> Sequence[pb.FailureGroup]:
        """Return how many results that are not SENT have each code, the largest group first.

        FAILED come first, then UNKNOWN and SKIPPED; only ``outcomes`` if any are given.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListFailuresRequest(campaign_id=campaign_id, outcomes=list(outcomes))
        response = await self._call(self._stub.ListFailures, request, timeout_seconds)
        return response.groups

    async def explain_campaign(
        self, *, campaign_id: str, timeout_seconds: float = SCAN_TIMEOUT_SECONDS
    ) -> pb.ExplainCampaignResponse:
        """Return why the campaign is not complete, and what to do about it.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ExplainCampaignRequest(campaign_id=campaign_id)
        return await self._call(self._stub.ExplainCampaign, request, timeout_seconds)
