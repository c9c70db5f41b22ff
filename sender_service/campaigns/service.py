"""The use cases of the sender, in values: create, upload, start, progress, recipients."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sender_service.campaigns import audience, content, repetition, status_gateway
from sender_service.campaigns.drafts import new_campaign
from sender_service.campaigns.resend import Resends, finish_copy
from sender_service.domain import Phase, Problem, Repeat
from sender_service.errors import TransitionNotAllowedError
from sender_service.store import campaigns, progress, recipients
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Collection
    from datetime import datetime

    from sender_service.campaigns.audience import RecipientBatch, RecipientInput
    from sender_service.campaigns.directory import Directory
    from sender_service.campaigns.drafts import CampaignDraft
    from sender_service.campaigns.status_account import StatusAccount
    from sender_service.channels.contract import Channel
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.domain import State
    from sender_service.store.progress import DeliveryTotals
    from sender_service.store.recipients import Addressee, UploadResult
    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.pages import Page, PageRequest


class Created(NamedTuple):
    """The id of a campaign, and whether this call stored it."""

    campaign_id: str
    created: bool


class Started(NamedTuple):
    """The sealed total, whether this call began the sending, and how many get nothing."""

    total: int
    transitioned: bool
    left_out: int


class Delivery(NamedTuple):
    """How the delivery of a campaign stands.

    Attributes:
        totals: over its shards.
        state: the state that the sender received last; None until the status service
            has answered.
        revision: the revision of ``state``; 0 without one.
        problems: what holds it up.
    """

    totals: DeliveryTotals
    state: State | None
    revision: int
    problems: tuple[Problem, ...]


class SenderCampaigns:
    """The campaigns of this sender, as its callers use them.

    Args:
        store: the sender's.
        channels: where messages go.
        account: reaches the status service.
        directory: the campaigns at work.
        shard_size: messages of a shard.

    Attributes:
        resends: sends campaigns that have ended again.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        account: StatusAccount,
        directory: Directory,
        *,
        shard_size: int,
    ) -> None:
        self._store = store
        self._channels = channels
        self._account = account
        self._directory = directory
        self._shard_size = shard_size
        self.resends = Resends(store, channels, account)

    async def create(self, caller: Caller, draft: CampaignDraft) -> Created:
        """Store a campaign and register it, or find it done before.

        Raises:
            InvalidRequestError: the content is wrong.
            TemplateInvalidError: a template is broken.
            ChannelNotFoundError: there is no such channel.
            ChannelUnconfiguredError: it lacks a setting.
            RenderingUnavailableError: no process can compile the content now.
            CampaignAlreadyExistsError: the id is taken by other content.
            StatusServiceUnavailableError: the status service does not answer.
        """
        channel = self._channels.get(draft.channel)
        await content.compiled(self._channels.callers_workers, channel, draft)
        new = new_campaign(draft, caller.organisation, channel)
        if new.campaign_id or new.request_id:
            existing = await self._store.read(
                partial(
                    campaigns.find,
                    organisation=caller.organisation,
                    campaign_id=new.campaign_id,
                    request_id=new.request_id,
                )
            )
            if existing is not None:
                campaigns.same_or_raise(existing, new.request_digest)
                return Created(existing.campaign_id, created=False)
        campaign_id = await status_gateway.register(
            self._account.client(caller.organisation, caller),
            campaign_id=new.campaign_id,
            display_name=new.display_name,
            channel=new.channel,
            request_id=new.request_id,
            labels=new.labels,
        )
        registered = replace(new, campaign_id=campaign_id)
        created = await self._store.write(partial(campaigns.insert, new=registered))
        return Created(campaign_id, created=created)

    async def preview(self, draft: CampaignDraft, recipient: RecipientInput) -> str:
        """Return a message as the recipient would get it; store nothing.

        Raises:
            As :meth:`create`, but for what concerns the status service.
        """
        channel = self._channels.get(draft.channel)
        return await content.preview(self._channels.callers_workers, channel, draft, recipient)

    async def upload(
        self, organisation: str, batches: AsyncIterable[RecipientBatch]
    ) -> UploadResult:
        """Store the batches of an upload, each whole or not at all.

        Args:
            organisation: the caller's.
            batches: at least one, all of the same campaign and upload.

        Raises:
            CampaignNotFoundError: there is none.
            AudienceFrozenError: it was started.
            UploadOutOfOrderError: rows are left out.
            InvalidRequestError: a batch is not what it must be.
        """
        result: UploadResult | None = None
        channel: Channel | None = None
        async for batch in batches:
            campaign_id = batch.campaign_id
            if channel is None:
                row = await self._store.read(
                    partial(campaigns.get, organisation=organisation, campaign_id=campaign_id)
                )
                channel = self._channels.get(row.channel)
            # Checking a thousand addresses would hold up the messages being sent.
            rows = await asyncio.to_thread(audience.check_rows, channel, batch.recipients)
            result = await self._store.write(
                partial(
                    recipients.take_batch,
                    organisation=organisation,
                    campaign_id=campaign_id,
                    upload_id=batch.upload_id,
                    first_row=batch.first_row,
                    rows=rows,
                )
            )
        if result is None:
            raise InvalidRequestError.of({"campaign_id": "the upload has no batch"})
        return result

    async def start(
        self,
        caller: Caller,
        campaign_id: str,
        start_time: datetime | None = None,
        *,
        start_now: bool = False,
        repeat: Repeat = Repeat.REFUSE,
    ) -> Started:
        """Freeze the audience, seal it at the status service, and begin.

        ``start_time`` and ``start_now`` mean what they mean there: a scheduled campaign
        keeps its time unless another one or ``start_now`` is given. The state is
        received over the stream alone; the answer only stores the time. ``repeat`` is
        about people who would get a campaign of its family twice; what a campaign was
        frozen with stays.

        Raises:
            CampaignNotFoundError: there is none.
            AudienceRepeatedError: there are such people; nothing is frozen.
            InvalidRequestError: ``start_time`` is more than a minute past.
            StatusServiceUnavailableError: the sender goes on by itself when it can.
            CampaignSealedError: it was sealed elsewhere with another total.
            TransitionNotAllowedError: it was cancelled, or has started at another time.
        """
        organisation = caller.organisation
        client = self._account.client(organisation, caller)
        await finish_copy(self._store, organisation, campaign_id)
        row = await repetition.freeze(
            self._store,
            organisation,
            campaign_id,
            shard_size=self._shard_size,
            start_time=start_time,
            start_now=start_now,
            repeat=repeat,
        )
        if row.phase == Phase.FINISHED:
            if row.start_time is None:
                raise TransitionNotAllowedError(
                    "the campaign was cancelled before it was started",
                    metadata={"campaign_id": campaign_id, "state": row.state},
                )
            if start_time is not None:
                # Only the status service knows whether it was started with this time.
                await status_gateway.check_started(client, row, start_time)
            return Started(row.total, transitioned=False, left_out=row.left_out)
        active = self._directory.add(row)
        async with active.sealing:
            started = await status_gateway.seal_as_requested(
                self._store, client, active, start_time=start_time, start_now=start_now
            )
        if repeat is Repeat.ONLY_NEW:
            await repetition.forget_lists(self._store, row.campaign)
        return Started(row.total, transitioned=started, left_out=row.left_out)

    async def delivery(self, organisation: str, campaign_id: str) -> Delivery:
        """Return how the delivery of a campaign stands.

        Raises:
            CampaignNotFoundError: there is none.
        """
        totals = await self._store.read(
            partial(progress.read_totals, organisation=organisation, campaign_id=campaign_id)
        )
        active = self._directory.find(totals.campaign)
        problems = totals.problems
        status_problem = self._directory.status_problems.of(organisation)
        if status_problem is not None and totals.phase in {Phase.FROZEN, Phase.STARTED}:
            problems = (*problems, status_problem)
        return Delivery(
            totals=totals,
            state=active.state if active else None,
            revision=active.revision if active and active.state else 0,
            problems=problems,
        )

    async def shards(self, organisation: str, campaign_id: str, page: PageRequest) -> Page:
        """Return one page of the shards of a campaign, in order: rows of ``shards``.

        Raises:
            CampaignNotFoundError: there is none.
            InvalidRequestError: the page token is not one of this list.
        """
        return await self._store.read(
            partial(
                progress.list_shards,
                organisation=organisation,
                campaign_id=campaign_id,
                page=page,
            )
        )

    async def recipients(
        self,
        organisation: str,
        campaign_id: str,
        sequences: Collection[int],
        *,
        include_fields: bool = False,
    ) -> list[Addressee]:
        """Return who the messages with these sequences go to, in order of sequence.

        Raises:
            CampaignNotFoundError: there is none.
        """
        return await self._store.read(
            partial(
                recipients.read_recipients,
                organisation=organisation,
                campaign_id=campaign_id,
                sequences=sequences,
                include_fields=include_fields,
            )
        )
