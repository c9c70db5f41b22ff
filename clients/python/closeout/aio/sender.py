"""The client of the sender service.

Every call raises a :class:`closeout.errors.ClientError` when it fails.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from closeout.aio.channel import ChannelOwner, Source, each
from closeout.aio.stubs import SenderStub
from closeout.sender.v1 import sender_pb2 as pb
from closeout.times import timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from closeout.status.v1.status_pb2 import Result

#: Deadline of calls that freeze or compile a whole campaign, seconds.
CAMPAIGN_TIMEOUT_SECONDS = 60.0
#: Deadline of an upload from its first row to its answer, seconds.
UPLOAD_TIMEOUT_SECONDS = 3600.0
#: Deadline of tests and checks, which wait for providers, seconds.
PROVIDER_TIMEOUT_SECONDS = 90.0
#: Recipients in one message of an upload, at most.
MAX_BATCH = 1000


class SenderClient(ChannelOwner[SenderStub]):
    """One method for each rpc of ``closeout.sender.v1.SenderService``.

    ::

        async with SenderClient("127.0.0.1:20052") as sender:
            delivery = await sender.get_delivery(campaign_id="welcome")

    Its arguments are those of :class:`.channel.ChannelOwner`.
    """

    _make_stub = SenderStub

    async def create_campaign(
        self,
        *,
        channel: str,
        body: pb.EmailContent | pb.TextContent | pb.JsonContent | None = None,
        options: pb.DeliveryOptions | None = None,
        campaign_id: str = "",
        display_name: str = "",
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        preview_recipient: pb.Recipient | None = None,
        recipient_fields: Iterable[str] | None = None,
        family: str = "",
        repeat_after: timedelta | None = None,
        timeout_seconds: float = CAMPAIGN_TIMEOUT_SECONDS,
    ) -> pb.CreateCampaignResponse:
        """Store what is sent and how, and register the campaign as a DRAFT.

        With ``validate_only`` nothing is stored, and ``preview`` shows the message of
        ``preview_recipient``. The field ``from`` of an e-mail is a keyword of Python:
        set it by ``setattr(body, "from", ...)``. With ``recipient_fields``, the names of
        all fields that recipients have, a template with another variable is refused.

        ``family`` names the campaigns that this one must not repeat by accident; empty:
        those with its ``display_name``. ``repeat_after`` is how long a campaign counts
        as a repetition of another one; None: 7 days; zero: never.

        Safe to repeat with the same ``campaign_id`` or ``request_id``. Without either,
        the call makes a ``request_id``, so that its own retries create one campaign.

        Raises:
            AlreadyExistsError: the id is taken by other content.
            FailedPreconditionError: the channel is not configured.
            InvalidArgumentError: a template is broken (its place is in
                ``metadata``), there is no such channel, or a field is wrong.
            UnavailableError: the status service does not answer the sender.
        """
        request = pb.CreateCampaignRequest(
            campaign_id=campaign_id,
            display_name=display_name,
            channel=channel,
            options=options,
            request_id=request_id or ("" if campaign_id else str(uuid.uuid4())),
            labels=labels,
            validate_only=validate_only,
            preview_recipient=preview_recipient,
            recipient_fields=_recipient_fields(recipient_fields),
            family=family,
        )
        if repeat_after is not None:
            request.repeat_after.FromTimedelta(repeat_after)
        _set_body(request, body)
        return await self._call(self._stub.CreateCampaign, request, timeout_seconds)

    async def upload_recipients(
        self,
        *,
        campaign_id: str,
        upload_id: str,
        batches: Source[Sequence[pb.Recipient]],
        timeout_seconds: float = UPLOAD_TIMEOUT_SECONDS,
    ) -> pb.UploadRecipientsResponse:
        """Add the recipients, batch after batch, each of at most 1,000 and 4 MiB.

        Safe to repeat with the same ``upload_id`` and rows: what was taken before
        is passed over. An exception of ``batches`` ends the upload and is raised.

        Raises:
            FailedPreconditionError: the audience is frozen.
            InvalidArgumentError: a batch can't be taken.
            NotFoundError: there is no such campaign.
        """

        async def requests() -> AsyncIterator[pb.UploadRecipientsRequest]:
            first_row = 0
            async for recipients in each(batches):
                yield pb.UploadRecipientsRequest(
                    campaign_id=campaign_id,
                    upload_id=upload_id,
                    first_row=first_row,
                    recipients=recipients,
                )
                first_row += len(recipients)

        return await self._send(self._stub.UploadRecipients, requests(), timeout_seconds)

    async def start_campaign(
        self,
        *,
        campaign_id: str,
        start_time: datetime | None = None,
        start_now: bool = False,
        repeat: pb.StartCampaignRequest.Repeat.ValueType = pb.StartCampaignRequest.REFUSE,
        timeout_seconds: float = CAMPAIGN_TIMEOUT_SECONDS,
    ) -> pb.StartCampaignResponse:
        """Freeze the audience and start, now or at ``start_time`` (aware).

        A campaign that is SCHEDULED keeps its time unless ``start_time`` names
        another one or ``start_now`` is true. ``repeat`` says what to do about people
        who would get a campaign of its family twice; the default refuses the call.

        Raises:
            FailedPreconditionError: there are such people (the numbers are in
                ``metadata``), or the campaign is cancelled, or started already and
                ``start_time`` is another one.
            InvalidArgumentError: ``start_time`` is more than a minute past.
            NotFoundError: there is no such campaign.
            UnavailableError: the status service does not answer the sender, which
                starts the campaign by itself when it can.
        """
        request = pb.StartCampaignRequest(
            campaign_id=campaign_id, start_now=start_now, repeat=repeat
        )
        if start_time is not None:
            request.start_time.CopyFrom(timestamp(start_time))
        return await self._call(self._stub.StartCampaign, request, timeout_seconds)

    async def send_test(
        self,
        *,
        channel: str,
        body: pb.EmailContent | pb.TextContent | pb.JsonContent | None = None,
        recipients: Iterable[pb.Recipient],
        recipient_fields: Iterable[str] | None = None,
        timeout_seconds: float = PROVIDER_TIMEOUT_SECONDS,
    ) -> pb.SendTestResponse:
        """Send a message to each of 1 to 10 recipients now, outside any campaign.

        Nothing is stored, and nothing is tried again: a repeated call sends again.
        ``recipient_fields`` are those of :meth:`create_campaign`.

        Raises:
            FailedPreconditionError: the channel is not configured.
            InvalidArgumentError: a template is broken (its place is in ``metadata``), a
                recipient can't be used, there is no such channel, or a field is wrong.
        """
        request = pb.SendTestRequest(
            channel=channel,
            recipients=recipients,
            recipient_fields=_recipient_fields(recipient_fields),
        )
        _set_body(request, body)
        return await self._call(self._stub.SendTest, request, timeout_seconds)

    async def check_sender(
        self, *, channel: str = "", timeout_seconds: float = PROVIDER_TIMEOUT_SECONDS
    ) -> pb.CheckSenderResponse:
        """Check what the sender needs, without sending anything.

        Its database, the disk, the status service, and the provider of ``channel`` or of
        all channels that are configured. What is wrong is in the answer.

        Raises:
            InvalidArgumentError: there is no such channel.
        """
        request = pb.CheckSenderRequest(channel=channel)
        return await self._call(self._stub.CheckSender, request, timeout_seconds)

    async def resend_campaign(
        self,
        *,
        source_campaign_id: str,
        outcomes: Iterable[Result.Outcome.ValueType] = (),
        include_unsent: bool = False,
        campaign_id: str = "",
        display_name: str = "",
        request_id: str = "",
        validate_only: bool = False,
        timeout_seconds: float = UPLOAD_TIMEOUT_SECONDS,
    ) -> pb.ResendCampaignResponse:
        """Make a campaign that sends one that has ended again, to some of its people.

        ``outcomes`` and ``include_unsent`` say to whom. Send it with
        :meth:`start_campaign`. With ``validate_only`` nothing is stored, and ``preview``
        shows the first message.

        Safe to repeat with the same ``campaign_id`` or ``request_id``. Without either,
        the call makes a ``request_id``, so that its own retries make one campaign.

        Raises:
            AlreadyExistsError: the id is taken by another campaign.
            FailedPreconditionError: the source has not ended.
            InvalidArgumentError: nobody is selected, or a field is wrong.
            NotFoundError: there is no such source.
            UnavailableError: the status service does not answer the sender.
        """
        request = pb.ResendCampaignRequest(
            source_campaign_id=source_campaign_id,
            outcomes=outcomes,
            include_unsent=include_unsent,
            campaign_id=campaign_id,
            display_name=display_name,
            request_id=request_id or ("" if campaign_id else str(uuid.uuid4())),
            validate_only=validate_only,
        )
        return await self._call(self._stub.ResendCampaign, request, timeout_seconds)

    async def delete_campaign(
        self, *, campaign_id: str, dry_run: bool = False, timeout_seconds: float | None = None
    ) -> pb.DeleteCampaignResponse:
        """Delete what the sender has of a campaign: content, recipients, outcomes.

        Call :meth:`.StatusClient.delete_campaign` first. ``deleted`` is false if it was
        deleted before. With ``dry_run`` the call answers or refuses as it would.

        Raises:
            FailedPreconditionError: the sender has not finished it.
            NotFoundError: the sender has no such campaign, and had none.
            UnavailableError: the status service does not answer the sender.
        """
        request = pb.DeleteCampaignRequest(campaign_id=campaign_id, dry_run=dry_run)
        return await self._call(self._stub.DeleteCampaign, request, timeout_seconds)

    async def erase_address(
        self, *, address: str, dry_run: bool = False, timeout_seconds: float | None = None
    ) -> pb.EraseAddressResponse:
        """Erase an address from all campaigns of the organisation that have ended.

        It takes as many calls as it needs; the deadline is that of each. Repeating it is
        safe. ``open_campaign_ids`` names campaigns that have the address and have not
        ended: erase it again once they have. With ``dry_run`` it only counts.

        Raises:
            InvalidArgumentError: the address is empty or too long.
        """
        erased = pb.EraseAddressResponse()
        while True:
            request = pb.EraseAddressRequest(
                address=address, dry_run=dry_run, page_token=erased.next_page_token
            )
            page = await self._call(self._stub.EraseAddress, request, timeout_seconds)
            erased.recipients += page.recipients
            erased.outcomes += page.outcomes
            erased.open_campaign_ids.extend(page.open_campaign_ids)
            erased.next_page_token = page.next_page_token
            if not page.next_page_token:
                return erased

    async def get_delivery(
        self, *, campaign_id: str, timeout_seconds: float | None = None
    ) -> pb.GetDeliveryResponse:
        """Return how the delivery stands at the sender, and what it waits for.

        Raises:
            NotFoundError: the sender has no such campaign.
        """
        request = pb.GetDeliveryRequest(campaign_id=campaign_id)
        return await self._call(self._stub.GetDelivery, request, timeout_seconds)

    async def list_shards(
        self,
        *,
        campaign_id: str,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.Shard, None]:
        """Yield the shards of a campaign in order. The deadline is that of each page.

        Raises:
            NotFoundError: the sender has no such campaign.
        """
        request = pb.ListShardsRequest(campaign_id=campaign_id, page_size=page_size)
        async for page in self._pages(self._stub.ListShards, request, timeout_seconds):
            for shard in page.shards:
                yield shard

    async def batch_get_recipients(
        self,
        *,
        campaign_id: str,
        sequences: Iterable[int],
        include_fields: bool = False,
        timeout_seconds: float | None = None,
    ) -> list[pb.RecipientEntry]:
        """Return who the messages with ``sequences`` (1 to 400) go to, in order.

        Sequences that the campaign does not have are left out. With ``include_fields``,
        1 to 40 sequences, and the answer has what the templates had of each recipient.

        Raises:
            InvalidArgumentError: none or too many were asked for.
            NotFoundError: the sender has no such campaign.
        """
        request = pb.BatchGetRecipientsRequest(
            campaign_id=campaign_id, sequences=sequences, include_fields=include_fields
        )
        response = await self._call(self._stub.BatchGetRecipients, request, timeout_seconds)
        return list(response.recipients)


def _recipient_fields(names: Iterable[str] | None) -> pb.RecipientFields | None:
    return None if names is None else pb.RecipientFields(names=names)


def _set_body(
    request: pb.CreateCampaignRequest | pb.SendTestRequest,
    body: pb.EmailContent | pb.TextContent | pb.JsonContent | None,
) -> None:
    match body:
        case pb.EmailContent():
            request.email.CopyFrom(body)
        case pb.TextContent():
            request.text.CopyFrom(body)
        case pb.JsonContent():
            request.json.CopyFrom(body)
