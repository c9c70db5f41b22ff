"""The client of the status service.

Every call raises a :class:`closeout.errors.ClientError` when it fails.
"""

from __future__ import annotations

import uuid
from itertools import islice
from typing import TYPE_CHECKING

from closeout.aio.campaign_reader import CampaignReader
from closeout.connection import FORCE_TIMEOUT_SECONDS, SCAN_TIMEOUT_SECONDS
from closeout.status.v1 import status_pb2 as pb
from closeout.times import duration, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

#: Results in one call of :meth:`StatusClient.batch_report_results`, at most.
MAX_RESULTS = 1000


class StatusClient(CampaignReader):
    """One method for each rpc of ``closeout.status.v1.StatusService``, and :meth:`report`.

    ::

        async with StatusClient("127.0.0.1:20051") as status:
            campaign = await status.get_campaign(campaign_id="welcome")

    Its arguments are those of :class:`.channel.ChannelOwner`.
    """

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
        """Register a DRAFT. ``created`` is false if it existed already.

        Safe to repeat with the same ``campaign_id`` or ``request_id``. Without either,
        the call makes a ``request_id``, so that its own retries create one campaign.

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
        """Seal ``total`` (0: a campaign of nobody) and start, now or at ``start_time`` (aware).

        A campaign that is SCHEDULED keeps its time unless ``start_time`` names
        another one or ``start_now`` is true.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: sealed with another total, cancelled, or
                started already and ``start_time`` is another one.
            InvalidArgumentError: ``start_time`` is more than a minute past, or both it
                and ``start_now`` are given; or ``total`` is negative.
            NotFoundError: there is no such campaign.
        """
        request = pb.StartCampaignRequest(
            campaign_id=campaign_id, total=total, start_now=start_now, revision=revision
        )
        if start_time is not None:
            request.start_time.CopyFrom(timestamp(start_time))
        return await self._call(self._stub.StartCampaign, request, timeout_seconds)

    async def pause_campaign(
        self,
        *,
        campaign_id: str,
        reason: str = "",
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.PauseCampaignResponse:
        """Stop a SENDING campaign until it is resumed.

        ``transitioned`` is false if it was PAUSED already.

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

        ``transitioned`` is false if it was SENDING already.

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

        ``transitioned`` is false if it was CANCELLED already.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: it is COMPLETED.
            NotFoundError: there is no such campaign.
        """
        request = pb.CancelCampaignRequest(
            campaign_id=campaign_id, reason=reason, revision=revision
        )
        return await self._call(self._stub.CancelCampaign, request, timeout_seconds)

    async def delete_campaign(
        self,
        *,
        campaign_id: str,
        reason: str = "",
        dry_run: bool = False,
        revision: int = 0,
        timeout_seconds: float | None = None,
    ) -> pb.DeleteCampaignResponse:
        """Delete a campaign that has ended; its id is never given again.

        ``deleted`` is false if it was deleted before. With ``dry_run`` the call answers or
        refuses as it would, and changes nothing. Its sender keeps recipients and content
        until :meth:`.SenderClient.delete_campaign`.

        Raises:
            AbortedError: ``revision`` is not 0 and not the current one.
            FailedPreconditionError: it has not ended.
            NotFoundError: there is no such campaign, and there was none.
        """
        request = pb.DeleteCampaignRequest(
            campaign_id=campaign_id, reason=reason, dry_run=dry_run, revision=revision
        )
        return await self._call(self._stub.DeleteCampaign, request, timeout_seconds)

    async def erase_address(
        self, *, address: str, dry_run: bool = False, timeout_seconds: float | None = None
    ) -> pb.EraseAddressResponse:
        """Erase an address from all results of the organisation; return how many had it.

        It takes as many calls as it needs; the deadline is that of each. Repeating it is
        safe. With ``dry_run`` it only counts.

        Raises:
            InvalidArgumentError: the address is empty or too long.
        """
        erased = pb.EraseAddressResponse()
        while True:
            request = pb.EraseAddressRequest(
                address=address, dry_run=dry_run, page_token=erased.next_page_token
            )
            page = await self._call(self._stub.EraseAddress, request, timeout_seconds)
            erased.results += page.results
            erased.failure_groups += page.failure_groups
            erased.next_page_token = page.next_page_token
            if not page.next_page_token:
                return erased

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
        first: millions take minutes. The service ends that also where the call ends before,
        and the same call may be repeated. With ``dry_run`` the call answers or refuses as
        it would, and changes nothing. ``transitioned`` is false if the campaign was
        COMPLETED already. Absent, the deadline is a minute, with ``force`` an hour.

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
        usual_seconds = FORCE_TIMEOUT_SECONDS if force else SCAN_TIMEOUT_SECONDS
        return await self._call(self._stub.MarkComplete, request, timeout_seconds or usual_seconds)

    async def repair_campaigns(
        self,
        *,
        dry_run: bool = False,
        stall_threshold: timedelta | None = None,
        campaign_id: str = "",
        timeout_seconds: float = SCAN_TIMEOUT_SECONDS,
    ) -> pb.RepairCampaignsResponse:
        """Diagnose all open campaigns, or one, and repair what is safe.

        Safe at any time; never ends a campaign that has pending messages. With
        ``dry_run`` it only diagnoses.

        Args:
            dry_run: change nothing.
            stall_threshold: a campaign without a new result for longer is STALLED;
                absent: 5 minutes.
            campaign_id: only this campaign; empty: all open ones.
            timeout_seconds: the deadline.

        Raises:
            NotFoundError: there is no campaign ``campaign_id``.
        """
        request = pb.RepairCampaignsRequest(dry_run=dry_run, campaign_id=campaign_id)
        if stall_threshold is not None:
            request.stall_threshold.CopyFrom(duration(stall_threshold))
        return await self._call(self._stub.RepairCampaigns, request, timeout_seconds)

    async def report(
        self,
        results: Iterable[pb.Result],
        *,
        campaign_id: str,
        reporter: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.BatchReportResultsResponse.Receipt:
        """Store any number of results of one campaign, 1,000 a call.

        Returns once all are durable, with the counts over all calls and the state of
        the campaign after the last one. Without results it only returns that state.
        A call that fails ends the report: what was stored before it stays stored, and
        to report everything again is always safe.

        Args:
            results: what became of the messages, in any order.
            campaign_id: their campaign.
            reporter: who reports, for "who reported last"; at most 128 characters.
            timeout_seconds: the deadline of each call.

        Raises:
            FailedPreconditionError: the campaign is not sealed yet
                (``CAMPAIGN_NOT_SEALED``): report again once it is started.
            InvalidArgumentError: a field of a result is wrong.
            NotFoundError: there is no such campaign.
            OutOfRangeError: a sequence is outside 1..total.
            UnavailableError: the service does not answer, or the campaign is locked
                (``CAMPAIGN_BUSY``); the outcome is not known: report again.
        """
        total = pb.BatchReportResultsResponse.Receipt(campaign_id=campaign_id)
        for batch in _batches(results):
            response = await self.batch_report_results(
                [pb.CampaignResults(campaign_id=campaign_id, results=batch)],
                reporter=reporter,
                timeout_seconds=timeout_seconds,
            )
            # Of one campaign: a refusal would have been the failure of the call.
            (receipt,) = response.receipts
            total.new_results += receipt.new_results
            total.raised_results += receipt.raised_results
            total.duplicate_results += receipt.duplicate_results
            total.campaign_state.CopyFrom(receipt.campaign_state)
        return total

    async def batch_report_results(
        self,
        campaigns: Iterable[pb.CampaignResults],
        *,
        reporter: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.BatchReportResultsResponse:
        """Store results of 1 to 100 campaigns, each once, and at most 1,000 results.

        Each campaign has one receipt, in order; look at its ``rejection``, which is
        present if the campaign was refused. Safe to repeat at any time.

        Raises:
            ClientError: every campaign was refused; it is the error of the first.
            InvalidArgumentError: a field is wrong; nothing was stored.
            UnavailableError: the outcome is not known; repeat the call.
        """
        request = pb.BatchReportResultsRequest(campaigns=campaigns, reporter=reporter)
        return await self._call(self._stub.BatchReportResults, request, timeout_seconds)


def _batches(results: Iterable[pb.Result]) -> Iterator[list[pb.Result]]:
    """Yield what one call can carry; one empty batch where there are no results."""
    source = iter(results)
    yield list(islice(source, MAX_RESULTS))
    while batch := list(islice(source, MAX_RESULTS)):
        yield batch
