"""Bring one started campaign to the moment when every message has an outcome."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns.directory import Journaled, Opened, Source
from sender_service.delivery.activation import show_stuck
from sender_service.delivery.gate import Gate
from sender_service.delivery.plan import channel_problem, make_plan
from sender_service.delivery.shard_delivery import ShardDelivery
from sender_service.delivery.shard_report import Ended, ShardReport
from sender_service.delivery.shard_span import run_in_span
from sender_service.domain import MAX_DETAIL, Guarantee, Outcome, Problem, State
from sender_service.store import leases, outbox
from sender_service.store.abandonment import Ending, close_shard
from sender_service.store.leases import Claim, NothingToClaim
from sender_service.store.outbox import ShardKey
from service_runtime.errors import ServiceError

if TYPE_CHECKING:
    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.delivery.contents import CompiledContents
    from sender_service.delivery.fair_scheduler import FairScheduler
    from sender_service.delivery.plan import DeliveryPlan
    from sender_service.delivery.provider import Provider, Providers
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
        contents: compiles what is sent.
        providers: whether messages are taken at present.
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
        contents: CompiledContents,
        providers: Providers,
        scheduler: FairScheduler,
        instance: str,
    ) -> None:
        self._store = store
        self._channels = channels
        self._directory = directory
        self._active = active
        self._settings = settings
        self._contents = contents
        self._scheduler = scheduler
        self._instance = instance
        self._providers = providers
        #: Once the campaign could be sent: its provider, and what stands before it.
        self._behind: tuple[Provider, Gate] | None = None
        self._remaining = active.row.total

    async def run(self) -> None:
        """Send, wait or close, until every message has an outcome or the process stops.

        Raises:
            StoreUnavailableError: the store does not answer.
            LeaseLostError: another instance took over a shard that was to be closed.
        """
        progress = await self._store.read(partial(outbox.progress, campaign=self._active.number))
        self._directory.announce(Opened(self._active, tuple(progress)))
        self._remaining = self._active.row.total - sum(shard.journaled for shard in progress)
        # One brought back to be reported again has nothing to deliver.
        try:
            await self._work_until(done=self._remaining == 0)
        finally:
            self._contents.forget(self._active.number)
            if self._behind is not None:
                provider, gate = self._behind
                provider.remove(gate)

    async def _work_until(self, *, done: bool) -> None:
        while not done and not self._directory.stopping:
            state = self._active.state
            if state is not None and state.is_terminal:
                await self._leave_provider()
                done = await self._close(_CLOSED)
            elif state is not State.SENDING:
                await self._leave_provider()
                await self._active.wait(None)
            else:
                done = await self._proceed()

    async def _leave_provider(self) -> None:
        if self._behind is not None:
            provider, gate = self._behind
            await provider.release(gate)

    async def _proceed(self) -> bool:
        """Send, or wait for the provider; True: every message has an outcome."""
        try:
            provider, gate = self._gate()
        except ServiceError as error:
            await self._wait_for_channel(channel_problem(self._active.row.channel, error))
            return False
        provider.attend(gate)
        left = gate.outage.seconds_left
        if left is not None and left < 0:
            return await self._give_up(gate)
        if gate.is_closed:
            return await self._turn(gate)
        if not gate.take_probe():
            await gate.wait()
            return False
        try:
            return await self._turn(gate)
        finally:
            gate.give_back_probe()

    def _gate(self) -> tuple[Provider, Gate]:
        if self._behind is None:
            provider = self._providers.of(self._channels.get(self._active.row.channel))
            gate = Gate(
                provider.shared,
                self._active,
                remaining=self._remaining,
                deadline_seconds=self._settings.unreachable_deadline_hours * 3600,
            )
            self._behind = provider, gate
        return self._behind

    async def _give_up(self, gate: Gate) -> bool:
        """Fail what is unsent: the provider took nothing of it until the deadline."""
        problem = gate.outage.problem()
        if problem is None:
            return False
        words = f"{problem.summary}: {problem.detail}"[:MAX_DETAIL]
        # A provider that takes the messages of others refuses what this campaign is.
        takes_others = gate.shared.breaker.fault is None
        (log.warning if takes_others else log.error)(
            "provider_given_up",
            campaign_id=self._active.campaign_id,
            channel=self._active.row.channel,
            provider=problem.provider,
            reason=words,
            hours=self._settings.unreachable_deadline_hours,
            action="what was not sent fails; send it again in a new campaign",
        )
        return await self._close(Ending(Outcome.FAILED, problem.kind.lower(), words))

    async def _wait_for_channel(self, problem: Problem) -> None:
        await self._leave_provider()
        await show_stuck(self._directory, self._active, Source.CHANNEL, problem)

    async def _turn(self, gate: Gate) -> bool:
        """Work on one shard, or wait for one; True: every message has an outcome."""
        async with self._scheduler.turn():
            if not gate.may_send:
                return False
            row, contents = self._active.row, self._contents
            plan = await make_plan(contents, self._channels, row, self._settings)
            end = plan if isinstance(plan, Problem) else await self._work_on_shard(plan, gate)
        match end:
            case NothingToClaim():
                if not end.leased:
                    gate.run_out()
                gate.give_back_probe()
                return await self._nothing_to_claim(end)
            case ShardReport():
                if end.ended is Ended.LEASE_LOST:
                    await self._active.wait(_MIN_WAIT_SECONDS)
            case Problem():
                gate.give_back_probe()
                await self._wait_for_channel(end)
        return False

    async def _work_on_shard(self, plan: DeliveryPlan, gate: Gate) -> ShardReport | NothingToClaim:
        try:
            await self._directory.set_problem(self._active, Source.CHANNEL, None)
            claimed_at = time.monotonic()
            claim = await self._claim(
                lease_seconds=plan.lease_seconds, untried_first=gate.wants_untried
            )
            if isinstance(claim, Claim):
                return await self._send(plan, gate, claim, claimed_at)
            return claim
        finally:
            plan.let_go()

    async def _claim(
        self, *, lease_seconds: float, whole: bool = False, untried_first: bool = False
    ) -> Claim | NothingToClaim:
        claim = await self._store.write(
            partial(
                leases.claim,
                campaign=self._active.number,
                owner=self._instance,
                lease_seconds=lease_seconds,
                guarantee=Guarantee(self._active.row.guarantee),
                whole=whole,
                untried_first=untried_first,
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

    async def _send(
        self, plan: DeliveryPlan, gate: Gate, claim: Claim, claimed_at: float
    ) -> ShardReport:
        def may_send() -> bool:
            return self._active.state is State.SENDING and not self._directory.stopping

        def turn_is_over() -> bool:
            return self._scheduler.others_wait and time.monotonic() - claimed_at > _TURN_SECONDS

        delivery = ShardDelivery(
            self._store,
            self._directory,
            self._active,
            plan,
            claim,
            claimed_at=claimed_at,
            gate=gate,
            may_send=may_send,
            turn_is_over=turn_is_over,
        )
        report = await run_in_span(delivery, self._active, claim)
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
