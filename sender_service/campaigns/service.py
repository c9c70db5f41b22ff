"""The use cases of the sender: create, upload, start, how it stands, who gets it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sender_service.api.requests import check_create, content_of, given_recipient, new_campaign
from sender_service.campaigns import audience, status_gateway
from sender_service.channels.contract import Message
from sender_service.channels.errors import (
    InvalidAddressError,
    InvalidContentError,
    TemplateError,
)
from sender_service.domain import MessageKeys, Phase
from sender_service.errors import TemplateInvalidError, TransitionNotAllowedError
from sender_service.store import campaigns, recipients
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Collection
    from datetime import datetime

    from closeout.aio import StatusClient
    from closeout.sender.v1 import sender_pb2 as pb
    from sender_service.campaigns.directory import Directory
    from sender_service.channels.contract import Channel, Template
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.domain import Problem
    from sender_service.store.campaigns import Delivery
    from sender_service.store.recipients import Addressee, UploadResult
    from service_runtime.database import Store


class Created(NamedTuple):
    """The id of a campaign, and whether this call stored it."""

    campaign_id: str
    created: bool


class Started(NamedTuple):
    """The sealed total, and whether this call began the sending."""

    total: int
    transitioned: bool


class SenderCampaigns:
    """The campaigns of this sender, as its callers use them.

    Args:
        store: the sender's.
        channels: where messages go.
        client: reaches the status service.
        directory: the campaigns at work.
        shard_size: messages of a shard.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        client: StatusClient,
        directory: Directory,
        *,
        shard_size: int,
    ) -> None:
        self._store = store
        self._channels = channels
        self._client = client
        self._directory = directory
        self._shard_size = shard_size

    async def create(self, organisation: str, request: pb.CreateCampaignRequest) -> Created:
        """Store a campaign and register it, or find it done before.

        Raises:
            InvalidRequestError: a field, or the content, is wrong.
            TemplateInvalidError: a template is broken.
            ChannelNotFoundError: there is no such channel.
            ChannelUnconfiguredError: it lacks a setting.
            CampaignAlreadyExistsError: the id is taken by other content.
            StatusServiceUnavailableError: the status service does not answer.
        """
        channel, _ = self._compile(request)
        new = new_campaign(request, organisation, channel)
        if new.campaign_id or new.request_id:
            existing = await self._store.read(
                partial(
                    campaigns.find,
                    organisation=organisation,
                    campaign_id=new.campaign_id,
                    request_id=new.request_id,
                )
            )
            if existing is not None:
                campaigns.same_or_raise(existing, new.request_digest)
                return Created(existing.campaign_id, created=False)
        campaign_id = await status_gateway.register(
            self._client,
            campaign_id=new.campaign_id,
            display_name=new.display_name,
            channel=new.channel,
            request_id=new.request_id,
        )
        registered = replace(new, campaign_id=campaign_id)
        created = await self._store.write(partial(campaigns.insert, new=registered))
        return Created(campaign_id, created=created)

    async def preview(self, request: pb.CreateCampaignRequest) -> str:
        """Return a message as the preview recipient would get it; store nothing.

        Raises:
            As :meth:`create`, but for what concerns the status service.
        """
        channel, template = self._compile(request)
        given = given_recipient(request.preview_recipient)
        address = given.address
        if address:
            try:
                address = channel.check_address(address)
            except InvalidAddressError as error:
                field = "preview_recipient.address"
                raise InvalidRequestError.of({field: str(error)}) from error
        keys = MessageKeys(organisation="", campaign_id=request.campaign_id, content_digest="")
        message = Message(
            campaign_id=request.campaign_id,
            sequence=1,
            address=address,
            recipient_key=given.recipient_key,
            fields=given.fields,
            idempotency_key=keys.key(1),
        )
        try:
            return template.preview(message)
        except TemplateError as error:
            raise TemplateInvalidError.from_channel(error) from error

    def _compile(self, request: pb.CreateCampaignRequest) -> tuple[Channel, Template]:
        check_create(request)
        channel = self._channels.get(request.channel)
        try:
            return channel, channel.compile(content_of(request.email))
        except TemplateError as error:
            raise TemplateInvalidError.from_channel(error) from error
        except InvalidContentError as error:
            raise InvalidRequestError.of({f"content.{error.field}": str(error)}) from error

    async def upload(
        self, organisation: str, requests: AsyncIterable[pb.UploadRecipientsRequest]
    ) -> UploadResult:
        """Take the batches of an upload, each whole or not at all.

        Raises:
            CampaignNotFoundError: there is none.
            AudienceFrozenError: it was started.
            UploadOutOfOrderError: rows are left out.
            InvalidRequestError: a batch is not what it must be.
        """
        result: UploadResult | None = None
        first: pb.UploadRecipientsRequest | None = None
        channel: Channel | None = None
        async for request in requests:
            first = first or request
            _check_same(request, first)
            if channel is None:
                row = await self._store.read(
                    partial(
                        campaigns.get, organisation=organisation, campaign_id=request.campaign_id
                    )
                )
                channel = self._channels.get(row.channel)
            given = [given_recipient(recipient) for recipient in request.recipients]
            # Checking a thousand addresses would hold up the messages being sent.
            rows = await asyncio.to_thread(audience.check_rows, channel, given)
            result = await self._store.write(
                partial(
                    recipients.take_batch,
                    organisation=organisation,
                    campaign_id=request.campaign_id,
                    upload_id=request.upload_id,
                    first_row=request.first_row,
                    rows=rows,
                )
            )
        if result is None:
            raise InvalidRequestError.of({"campaign_id": "the stream has no message"})
        return result

    async def start(
        self,
        organisation: str,
        campaign_id: str,
        start_time: datetime | None = None,
        *,
        start_now: bool = False,
    ) -> Started:
        """Freeze the audience, seal it at the status service, and begin.

        ``start_time`` and ``start_now`` mean what they mean there: a scheduled campaign
        keeps its time unless another one or ``start_now`` is given. The state is
        received over the stream alone; the answer only stores the time.

        Raises:
            CampaignNotFoundError: there is none.
            InvalidRequestError: ``start_time`` is more than a minute past.
            StatusServiceUnavailableError: the sender goes on by itself when it can.
            CampaignSealedError: it was sealed elsewhere with another total.
            TransitionNotAllowedError: it was cancelled, or has started at another time.
        """
        row = await self._store.write(
            partial(
                campaigns.freeze,
                organisation=organisation,
                campaign_id=campaign_id,
                shard_size=self._shard_size,
                start_time=start_time,
                start_now=start_now,
            )
        )
        if row.phase == Phase.FINISHED:
            if row.start_time is None:
                raise TransitionNotAllowedError(
                    "the campaign was cancelled before it was started",
                    metadata={"campaign_id": campaign_id, "state": row.state},
                )
            return Started(row.total, transitioned=False)
        active = self._directory.add(row)
        async with active.sealing:
            if row.phase == Phase.FROZEN:
                started = await status_gateway.seal_for_its_time(self._store, self._client, row)
            else:
                started = await status_gateway.seal(
                    self._store, self._client, row, start_time=start_time, start_now=start_now
                )
        return Started(row.total, transitioned=started)

    async def delivery(self, organisation: str, campaign_id: str) -> Delivery:
        """Return how the delivery of a campaign stands.

        Raises:
            CampaignNotFoundError: there is none.
        """
        return await self._store.read(
            partial(campaigns.read_delivery, organisation=organisation, campaign_id=campaign_id)
        )

    async def recipients(
        self, organisation: str, campaign_id: str, sequences: Collection[int]
    ) -> list[Addressee]:
        """Return who the messages with these sequences go to, in order of sequence.

        Raises:
            InvalidRequestError: none or too many are asked for.
            CampaignNotFoundError: there is none.
        """
        audience.check_sequences(sequences)
        return await self._store.read(
            partial(
                recipients.read_recipients,
                organisation=organisation,
                campaign_id=campaign_id,
                sequences=sequences,
            )
        )

    def status_problem(self) -> Problem | None:
        """Return why nothing is reported at the moment, and since when; None: it is."""
        return self._directory.status_problem


def _check_same(request: pb.UploadRecipientsRequest, first: pb.UploadRecipientsRequest) -> None:
    """Check what surrounds the rows of one batch.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    audience.check_batch(
        upload_id=request.upload_id,
        first_row=request.first_row,
        recipients_given=len(request.recipients),
    )
    violations = {
        field: "must be the same throughout the stream"
        for field in ("campaign_id", "upload_id")
        if getattr(request, field) != getattr(first, field)
    }
    if violations:
        raise InvalidRequestError.of(violations)
