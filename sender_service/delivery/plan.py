"""How the messages of one campaign are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sender_service.channels.errors import ChannelError
from sender_service.channels.rendering.bounded import BoundedTemplate
from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.domain import MAX_DETAIL, MessageKeys, Problem, ProblemKind
from sender_service.store.values import policy_of
from service_runtime.errors import ServiceError, StoreUnavailableError

if TYPE_CHECKING:
    import asyncio

    import sqlalchemy as sa

    from sender_service.channels.contract import Channel, Template
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.delivery.contents import CompiledContents
    from sender_service.domain import Policy
    from sender_service.settings import SenderSettings
    from service_runtime.sampled_log import SampledLog

#: A lease must outlast a provider call by this, seconds.
LEASE_MARGIN_SECONDS = 2.0


@dataclass(slots=True)
class DeliveryPlan:
    """What is the same for all messages of a campaign while it has its turn.

    Attributes:
        campaign_id: the campaign, as callers know it.
        channel: where its messages go.
        limit: bounds the calls of the channel that run at once, over all campaigns.
        defects: logs what the channel raises, over all campaigns.
        template: the content, compiled; None: it is always rendered elsewhere.
        rendering: renders the messages for which ``template`` would take too long; None:
            the channel has nothing of the kind.
        keys: makes idempotency keys.
        policy: how often a message is tried.
        window: how many messages may be in doubt.
        lease_seconds: how long a claim holds.
        heartbeat_seconds: how often it is renewed.
    """

    campaign_id: str
    channel: Channel
    limit: asyncio.Semaphore
    defects: SampledLog
    template: Template | None
    keys: MessageKeys
    policy: Policy
    window: int
    lease_seconds: float
    heartbeat_seconds: float
    rendering: BoundedTemplate | None = None

    @property
    def renders_elsewhere(self) -> bool:
        """Whether each message is rendered before it is handed to the channel."""
        return self.rendering is not None and self.rendering.light is None

    def let_go(self) -> None:
        """Keep nothing of the content: the turn is over, and it may be large."""
        self.template = self.rendering = None

    def render_elsewhere(self) -> None:
        """Render every message before it is handed over from now on: one took too long."""
        if self.rendering is not None:
            self.rendering.light = None


async def make_plan(
    contents: CompiledContents,
    channels: ChannelRegistry,
    row: sa.Row[Any],
    settings: SenderSettings,
) -> DeliveryPlan | Problem:
    """Return how to send the campaign of ``row``, or why its channel can't be used.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    try:
        channel = channels.get(row.channel)
        template = await contents.get(row, channel)
    except StoreUnavailableError:
        raise
    except (ServiceError, ChannelError) as error:
        return channel_problem(row.channel, error)
    rendering = template if isinstance(template, BoundedTemplate) else None
    return DeliveryPlan(
        campaign_id=row.campaign_id,
        channel=channel,
        limit=channels.limit(channel.name),
        defects=channels.defects(channel.name),
        template=template.light if isinstance(template, BoundedTemplate) else template,
        rendering=rendering,
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


def channel_problem(channel: str, error: ServiceError | ChannelError) -> Problem:
    """Return the problem of a campaign that can't be sent by a channel."""
    is_content = isinstance(error, ChannelError) and not isinstance(error, WorkerUnavailableError)
    return Problem(
        ProblemKind.CONTENT_INVALID if is_content else ProblemKind.CHANNEL_UNAVAILABLE,
        f"channel {channel} can't be used",
        detail=str(error)[:MAX_DETAIL],
        needs_attention=True,
    )
