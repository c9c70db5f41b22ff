"""Send a campaign that has ended again, to those whose messages have some outcomes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sender_service.campaigns import content, status_gateway
from sender_service.campaigns.audience import RecipientInput
from sender_service.campaigns.drafts import CampaignDraft, digest
from sender_service.channels.contract import content_from_json
from sender_service.domain import Guarantee, Phase
from sender_service.errors import CampaignNotEndedError
from sender_service.store import campaigns, resends
from sender_service.store.resends import MESSAGES_A_PART, Counts, Selection
from sender_service.store.values import NewCampaign
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from closeout.aio import StatusClient
    from sender_service.campaigns.status_account import StatusAccount
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.domain import Outcome
    from service_runtime.caller import Caller
    from service_runtime.database import Store


@dataclass(frozen=True, slots=True)
class ResendInput:
    """What ResendCampaign asks for, checked.

    Attributes:
        source_campaign_id: the campaign to send again.
        outcomes: whom to send to, by outcome there.
        include_unsent: also to those without one.
        campaign_id: the id of the new campaign; empty: the status service chooses one.
        display_name: its name; empty: that of the source.
        request_id: a UUID that makes a call without an id safe to repeat, or empty.
        validate_only: count, and store nothing.
    """

    source_campaign_id: str
    outcomes: frozenset[Outcome]
    include_unsent: bool
    campaign_id: str = ""
    display_name: str = ""
    request_id: str = ""
    validate_only: bool = False


class Resent(NamedTuple):
    """The new campaign, and how many people it has, or would have.

    ``preview`` is the first message; empty where the campaign was stored, and where
    nobody is selected.
    """

    campaign_id: str
    created: bool
    counts: Counts
    preview: str = ""


class Resends:
    """Makes campaigns that send another one again.

    Args:
        store: the sender's.
        channels: where messages go.
        account: reaches the status service.
    """

    def __init__(self, store: Store, channels: ChannelRegistry, account: StatusAccount) -> None:
        self._store = store
        self._channels = channels
        self._account = account

    async def resend(self, caller: Caller, request: ResendInput) -> Resent:
        """Make the campaign with its audience, or go on where a call before broke off.

        Raises:
            CampaignNotFoundError: there is no such source.
            CampaignNotEndedError: the source has not ended.
            InvalidRequestError: nobody is selected.
            CampaignAlreadyExistsError: the id is taken by another campaign.
            TemplateInvalidError: its content can't be compiled any more.
            ChannelNotFoundError: the channel of the source is not installed any more.
            ChannelUnconfiguredError: it lacks a setting.
            StatusServiceUnavailableError: the status service does not answer.
        """
        organisation = caller.organisation
        source = await self._store.read(
            partial(
                campaigns.get, organisation=organisation, campaign_id=request.source_campaign_id
            )
        )
        stored = await self._store.read(
            partial(
                campaigns.get_content,
                organisation=organisation,
                campaign_id=request.source_campaign_id,
            )
        )
        selection = Selection(request.outcomes, request.include_unsent)
        if request.validate_only:
            await self._check_ended(caller, source)
            return await self._validate(source, stored, selection, request)
        new = _new_campaign(source, stored, request)
        existing = None
        if new.campaign_id or new.request_id:
            find = partial(
                campaigns.find,
                organisation=organisation,
                campaign_id=new.campaign_id,
                request_id=new.request_id,
            )
            existing = await self._store.read(find)
        created = False
        if existing is None:
            await self._check_ended(caller, source)
            client = self._account.client(organisation, caller)
            new = await self._register(client, source, selection, new)
            created = await self._store.write(
                partial(resends.insert, new=new, source=source.campaign, selection=selection)
            )
        else:
            campaigns.same_or_raise(existing, new.request_digest)
            new = replace(new, campaign_id=existing.campaign_id)
        await finish_copy(self._store, organisation, new.campaign_id)
        row = await self._store.read(
            partial(campaigns.get, organisation=organisation, campaign_id=new.campaign_id)
        )
        counts = await self._store.read(partial(resends.read_counts, campaign=row.campaign))
        return Resent(new.campaign_id, created=created, counts=counts)

    async def _check_ended(self, caller: Caller, source: sa.Row[Any]) -> None:
        is_dropped = False
        if source.phase == Phase.COLLECTING:
            client = self._account.client(source.organisation, caller)
            is_dropped = await status_gateway.drop_cancelled(self._store, client, source)
        if source.phase != Phase.FINISHED and not is_dropped:
            raise CampaignNotEndedError(source.campaign_id, phase=source.phase)
        await self._store.read(partial(resends.check_kept, source=source.campaign))

    async def _validate(
        self, source: sa.Row[Any], stored: str, selection: Selection, request: ResendInput
    ) -> Resent:
        channel = self._channels.get(source.channel)
        counts = Counts()
        for part in _parts(source):
            count = partial(resends.count, source=source.campaign, selection=selection, first=part)
            counts += await self._store.read(count)
        first = await self._first(source, selection)
        if first is None:
            return Resent("", created=False, counts=counts)
        draft = CampaignDraft(
            channel=source.channel,
            campaign_id=request.campaign_id,
            content=content_from_json(stored),
        )
        person = RecipientInput(first.address, first.recipient_key, json.loads(first.fields))
        preview = await content.preview(self._channels.callers_workers, channel, draft, person)
        return Resent("", created=False, counts=counts, preview=preview)

    async def _first(self, source: sa.Row[Any], selection: Selection) -> sa.Row[Any] | None:
        for part in _parts(source):
            find = partial(
                resends.first_selected, source=source.campaign, selection=selection, first=part
            )
            if (found := await self._store.read(find)) is not None:
                return found
        return None

    async def _register(
        self, client: StatusClient, source: sa.Row[Any], selection: Selection, new: NewCampaign
    ) -> NewCampaign:
        channel = self._channels.get(source.channel)
        # What was compiled by an older version may be refused by this one.
        draft = CampaignDraft(channel=source.channel, content=content_from_json(new.content))
        await content.compiled(self._channels.callers_workers, channel, draft)
        if await self._first(source, selection) is None:
            raise InvalidRequestError.of(
                {
                    "outcomes": f"nobody in campaign {source.campaign_id!r} has a message with"
                    " such an outcome; GetCampaign of the status service counts them"
                }
            )
        campaign_id = await status_gateway.register(
            client,
            campaign_id=new.campaign_id,
            display_name=new.display_name,
            channel=new.channel,
            request_id=new.request_id,
            labels=new.labels,
        )
        return replace(new, campaign_id=campaign_id)


async def finish_copy(store: Store, organisation: str, campaign_id: str) -> None:
    """Copy what is missing in the audience of a campaign that sends another one again.

    Nothing happens for any other campaign, and where nothing is missing.
    """
    campaign = await store.read(
        partial(resends.unfinished, organisation=organisation, campaign_id=campaign_id)
    )
    if campaign is None:
        return
    while not await store.write(partial(resends.copy_part, campaign=campaign)):
        continue


def _parts(source: sa.Row[Any]) -> range:
    return range(1, source.total + 1, MESSAGES_A_PART)


def _new_campaign(source: sa.Row[Any], stored: str, request: ResendInput) -> NewCampaign:
    chosen = [
        "resend",
        request.source_campaign_id,
        sorted(request.outcomes),
        request.include_unsent,
        request.display_name,
    ]
    return NewCampaign(
        organisation=source.organisation,
        campaign_id=request.campaign_id,
        request_id="" if request.campaign_id else request.request_id,
        display_name=request.display_name or source.display_name,
        channel=source.channel,
        content=stored,
        content_digest=source.content_digest,
        request_digest=digest(chosen),
        guarantee=Guarantee(source.guarantee),
        max_in_flight=source.max_in_flight,
        max_attempts=source.max_attempts,
        initial_backoff_ms=source.initial_backoff_ms,
        max_backoff_ms=source.max_backoff_ms,
        retry_deadline_ms=source.retry_deadline_ms,
        labels=json.loads(source.labels),
        family=source.family,
        repeat_after_ms=source.repeat_after_ms,
    )
