"""How the messages of one campaign are sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sender_service.channels.contract import content_from_json
from sender_service.domain import MessageKeys
from sender_service.store import campaigns
from sender_service.store.values import policy_of

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sender_service.channels.contract import Channel, Template
    from sender_service.domain import Policy
    from sender_service.settings import SenderSettings
    from service_runtime.database import Store

#: A lease must outlast a provider call by this, seconds.
LEASE_MARGIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """What is the same for all messages of a campaign.

    Attributes:
        campaign_id: the campaign, as callers know it.
        channel: where its messages go.
        limit: bounds the calls of the channel that run at once, over all campaigns.
        template: the content, compiled.
        keys: makes idempotency keys.
        policy: how often a message is tried.
        window: how many messages may be in doubt.
        lease_seconds: how long a claim holds.
        heartbeat_seconds: how often it is renewed.
    """

    campaign_id: str
    channel: Channel
    limit: asyncio.Semaphore
    template: Template
    keys: MessageKeys
    policy: Policy
    window: int
    lease_seconds: float
    heartbeat_seconds: float


async def make_plan(
    store: Store,
    channel: Channel,
    limit: asyncio.Semaphore,
    row: sa.Row[Any],
    settings: SenderSettings,
) -> DeliveryPlan:
    """Return how to send the campaign of ``row`` through ``channel``.

    Raises:
        ChannelError: the channel can't use the content.
        StoreUnavailableError: the store does not answer.
    """
    stored = await store.read(
        partial(campaigns.get, organisation=row.organisation, campaign_id=row.campaign_id)
    )
    return DeliveryPlan(
        campaign_id=row.campaign_id,
        channel=channel,
        limit=limit,
        # In a thread: a large template would hold up the messages being sent.
        template=await asyncio.to_thread(channel.compile, content_from_json(stored.content)),
        keys=MessageKeys(
            organisation=row.organisation,
            campaign_id=row.campaign_id,
            content_digest=row.content_digest,
        ),
        policy=policy_of(
            row,
            deadline_seconds=settings.retry_deadline_hours * 3600,
            channel_retry=channel.retry,
        ),
        window=row.max_in_flight,
        # A lease has to outlast a call of the channel between two renewals.
        lease_seconds=max(
            settings.lease_seconds,
            channel.timeout_seconds + LEASE_MARGIN_SECONDS + 2 * settings.heartbeat_seconds,
        ),
        heartbeat_seconds=settings.heartbeat_seconds,
    )
