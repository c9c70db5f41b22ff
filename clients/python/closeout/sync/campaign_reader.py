# Made from closeout/aio/campaign_reader.py by generate.py: edit that file and run make protos.
"""What a client of the status service can ask about campaigns."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from closeout.connection import SCAN_TIMEOUT_SECONDS
from closeout.status.v1 import status_pb2 as pb
from closeout.sync.result_stream import ResultReporter

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence


class CampaignReader(ResultReporter):
    """The part of a client of the status service that reads and changes nothing."""

    def get_campaign(
        self, *, campaign_id: str, timeout_seconds: float | None = None
    ) -> pb.Campaign:
        """Return the campaign as it is now.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.GetCampaignRequest(campaign_id=campaign_id)
        response = self._call(self._stub.GetCampaign, request, timeout_seconds)
        return response.campaign

    def list_campaigns(
        self,
        *,
        states: Iterable[pb.Campaign.State.ValueType] = (),
        labels: Mapping[str, str] | None = None,
        stuck_first: bool = False,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> Generator[pb.Campaign, None, None]:
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
        for page in self._pages(self._stub.ListCampaigns, request, timeout_seconds):
            yield from page.campaigns

    def watch_campaign(self, *, campaign_id: str) -> Generator[pb.Campaign, None, None]:
        """Yield the campaign as it is now, then after changes, until it has ended.

        A watch has no deadline and does not reconnect. Close it (``closing``) where
        it is left early; that cancels the call.

        Raises:
            NotFoundError: there is no such campaign.
            UnavailableError: the service went away.
        """
        request = pb.WatchCampaignRequest(campaign_id=campaign_id)
        with closing(self._responses(self._stub.WatchCampaign, request)) as responses:
            for response in responses:
                yield response.campaign

    def list_results(
        self,
        *,
        campaign_id: str,
        outcomes: Iterable[pb.Result.Outcome.ValueType] = (),
        codes: Iterable[str] = (),
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> Generator[pb.Result, None, None]:
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
        for page in self._pages(self._stub.ListResults, request, timeout_seconds):
            yield from page.results

    def list_missing_ranges(
        self,
        *,
        campaign_id: str,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> Generator[pb.SequenceRange, None, None]:
        """Yield the ranges of sequences without a result, in order.

        The deadline is that of each page.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListMissingRangesRequest(campaign_id=campaign_id, page_size=page_size)
        for page in self._pages(self._stub.ListMissingRanges, request, timeout_seconds):
            yield from page.ranges

    def list_transitions(
        self,
        *,
        campaign_id: str,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> Generator[pb.Transition, None, None]:
        """Yield the audit trail, oldest first. The deadline is that of each page.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListTransitionsRequest(campaign_id=campaign_id, page_size=page_size)
        for page in self._pages(self._stub.ListTransitions, request, timeout_seconds):
            yield from page.transitions

    def list_samples(
        self, *, campaign_id: str, timeout_seconds: float | None = None
    ) -> Sequence[pb.CounterSample]:
        """Return the counters over time, oldest first.

        They are those at the start, about every ten seconds while they changed, at the end,
        and now; the older ones of a long campaign are further apart.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ListSamplesRequest(campaign_id=campaign_id)
        response = self._call(self._stub.ListSamples, request, timeout_seconds)
        return response.samples

    def list_failures(
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
        response = self._call(self._stub.ListFailures, request, timeout_seconds)
        return response.groups

    def explain_campaign(
        self, *, campaign_id: str, timeout_seconds: float = SCAN_TIMEOUT_SECONDS
    ) -> pb.ExplainCampaignResponse:
        """Return why the campaign is not complete, and what to do about it.

        Raises:
            NotFoundError: there is no such campaign.
        """
        request = pb.ExplainCampaignRequest(campaign_id=campaign_id)
        return self._call(self._stub.ExplainCampaign, request, timeout_seconds)
