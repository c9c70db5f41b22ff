"""Bring one started campaign to the moment when every message has an outcome."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns.directory import Journaled, Opened, Source
from sender_service.channels.contract import content_from_json
from sender_service.channels.errors import ChannelError
from sender_service.delivery.activation import show_stuck
from sender_service.delivery.circuit_breaker import CircuitBreaker
from sender_service.delivery.dispatch import DeliveryPlan
from sender_service.delivery.shard_delivery import LEASE_MARGIN_SECONDS, ShardDelivery
from sender_service.delivery.shard_report import Ended
from sender_service.domain import (
    MAX_DETAIL,
    Guarantee,
    MessageKeys,
    Outcome,
    Problem,
    ProblemKind,
    State,
)
from sender_service.store import campaigns, leases, outbox
from sender_service.store.abandonment import Ending, close_shard
from sender_service.store.leases import Claim, NothingToClaim
from sender_service.store.outbox import ShardKey
from sender_service.store.values import policy_of
from service_runtime.errors import ServiceError, StoreUnavailableError

if TYPE_CHECKING:
    from sender_service.campaigns.directory import ActiveCampaign, Directory
    from sender_service.channels.contract import Channel, Template
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.delivery.fair_scheduler import FairScheduler
    from sender_service.delivery.shard_report import ShardReport
    from sender_service.settings import SenderSettings
    from service_runtime.database import Store

log = structlog.get_logger()

#: A campaign ends its turn after so long when another one waits, seconds.
_TURN_SECONDS = 5.0
#: Bounds of the wait for what may be claimed later, seconds.
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.01, 30.0

_CLOSED = Ending(Outcome.SKIPPED, "cancelled", "the campaign was closed before it was sent")


class CampaignDelivery:
    """The work on one campaign, which may begin again at any time.

    Args:
        store: the sender's.
        channels: where messages go.
        directory: gives the state; announces how far the outbox goes.
        active: the campaign.
        settings: of the sender.
        scheduler: how the campaigns of the channel take turns.
        instance: the name of this process, which owns the leases.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        directory: Directory,
        active: ActiveCampaign,
        settings: SenderSettings,
        *,
        scheduler: FairScheduler,
        instance: str,
    ) -> None:
        self._store = store
        self._channels = channels
        self._directory = directory
        self._active = active
        self._settings = settings
        self._scheduler = scheduler
        self._instance = instance
        self._breaker = CircuitBreaker(
            store,
            directory,
            active,
            deadline_seconds=settings.unreachable_deadline_hours * 3600,
        )

    async def run(self) -> None:
        """Send, wait or close, until every message has an outcome or the process stops.

        Raises:
            StoreUnavailableError: the store does not answer.
            LeaseLostError: another instance took over a shard that was to be closed.
        """
        progress = await self._store.read(partial(outbox.progress, campaign=self._active.number))
        self._directory.announce(Opened(self._active, tuple(progress)))
        # One brought back to be reported again has nothing to deliver.
        done = sum(shard.journaled for shard in progress) == self._active.row.total
        plan: DeliveryPlan | None = None
        while not done and not self._directory.stopping:
            state = self._active.state
            if state is not None and state.is_terminal:
                done = await self._close(_CLOSED)
            elif state is not State.SENDING:
                await self._breaker.close()
                await self._active.wait(None)
            elif plan is None:
                plan = await self._make_plan()
            else:
                done = await self._turn(plan)

    async def _make_plan(self) -> DeliveryPlan | None:
        """Return how to send the campaign; None, after a while, if that is not possible."""
        try:
            channel = self._channels.get(self._active.row.channel)
            template = await self._compile(channel)
        except StoreUnavailableError:
            raise
        except (ServiceError, ChannelError) as error:
            is_content = isinstance(error, ChannelError)
            problem = Problem(
                ProblemKind.CONTENT_INVALID if is_content else ProblemKind.CHANNEL_UNAVAILABLE,
                f"channel {self._active.row.channel} can't be used",
                detail=str(error)[:MAX_DETAIL],
                needs_attention=True,
            )
            await show_stuck(self._directory, self._active, Source.CHANNEL, problem)
            return None
        await self._directory.set_problem(self._active, Source.CHANNEL, None)
        return self._plan(channel, template)

    async def _compile(self, channel: Channel) -> Template:
        row = self._active.row
        stored = await self._store.read(
            partial(campaigns.get, organisation=row.organisation, campaign_id=row.campaign_id)
        )
        return channel.compile(content_from_json(stored.content))

    def _plan(self, channel: Channel, template: Template) -> DeliveryPlan:
        row, settings = self._active.row, self._settings
        return DeliveryPlan(
            campaign_id=row.campaign_id,
            channel=channel,
            limit=self._channels.limit(row.channel),
            template=template,
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

    async def _turn(self, plan: DeliveryPlan) -> bool:
        """Work on one shard, or wait for one; True: every message has an outcome."""
        async with self._scheduler.turn():
            claimed_at = time.monotonic()
            claim = await self._claim(lease_seconds=plan.lease_seconds)
            if isinstance(claim, Claim):
                report = await self._send(plan, claim, claimed_at)
        if isinstance(claim, NothingToClaim):
            return await self._nothing_to_claim(claim)
        if report.ended is Ended.UNREACHABLE:
            if not await self._breaker.open(report.unreachable):
                return await self._close(
                    Ending(Outcome.FAILED, "provider_unreachable", self._breaker.problem)
                )
            await self._breaker.half_open()
        if report.ended is Ended.LEASE_LOST:
            await self._active.wait(_MIN_WAIT_SECONDS)
        return False

    async def _claim(self, *, lease_seconds: float, whole: bool = False) -> Claim | NothingToClaim:
        claim = await self._store.write(
            partial(
                leases.claim,
                campaign=self._active.number,
                owner=self._instance,
                lease_seconds=lease_seconds,
                guarantee=Guarantee(self._active.row.guarantee),
                whole=whole,
            )
        )
        if isinstance(claim, Claim) and claim.taken_over:
            log.warning(
                "shard_taken_over",
                campaign_id=self._active.campaign_id,
                shard=claim.lease.shard,
                epoch=claim.lease.epoch,
                in_doubt=claim.taken_over,
                guarantee=self._active.row.guarantee,
            )
            self._announce(claim.lease.shard, claim.journaled)
        return claim

    def _announce(self, shard: int, through: int) -> None:
        self._directory.announce(Journaled(ShardKey(self._active.number, shard), through))

    async def _send(self, plan: DeliveryPlan, claim: Claim, claimed_at: float) -> ShardReport:
        def may_send() -> bool:
            turn_over = (
                self._scheduler.others_wait and time.monotonic() - claimed_at > _TURN_SECONDS
            )
            is_sending = self._active.state is State.SENDING
            return is_sending and not self._directory.stopping and not turn_over

        delivery = ShardDelivery(
            self._store,
            self._directory,
            self._active,
            plan,
            claim,
            claimed_at=claimed_at,
            breaker=self._breaker,
            may_send=may_send,
        )
        report = await delivery.run()
        if delivery.is_finished:
            log.info(
                "shard_finished",
                campaign_id=self._active.campaign_id,
                shard=claim.lease.shard,
                messages=claim.size,
            )
        return report

    async def _nothing_to_claim(self, nothing: NothingToClaim) -> bool:
        """Wait for what may be claimed later; True: every message has an outcome."""
        if nothing.unfinished == 0:
            return True
        wait = _MAX_WAIT_SECONDS if nothing.wait_seconds is None else nothing.wait_seconds
        await self._active.wait(min(max(wait, _MIN_WAIT_SECONDS), _MAX_WAIT_SECONDS))
        return False

    async def _close(self, ending: Ending) -> bool:
        """End every message without an outcome; True: none is left."""
        closed = 0
        while not self._directory.stopping:
            claim = await self._claim(lease_seconds=self._settings.lease_seconds, whole=True)
            if isinstance(claim, NothingToClaim):
                if closed:
                    log.info(
                        "campaign_closed",
                        campaign_id=self._active.campaign_id,
                        messages=closed,
                        outcome=ending.outcome.name.lower(),
                        code=ending.code,
                    )
                return await self._nothing_to_claim(claim)
            closed += await self._store.write(partial(close_shard, claim=claim, ending=ending))
            self._announce(claim.lease.shard, claim.size)
        return False
