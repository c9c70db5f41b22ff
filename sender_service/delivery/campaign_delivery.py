"""Bring one campaign from its start to the moment every message has an outcome."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.channels.contract import content_from_json
from sender_service.channels.errors import ChannelError
from sender_service.delivery.activation import started
from sender_service.delivery.circuit_breaker import Outage
from sender_service.delivery.dispatch import Job
from sender_service.delivery.shard_delivery import LEASE_MARGIN_SECONDS, ShardDelivery
from sender_service.delivery.shard_report import Ended
from sender_service.domain import Guarantee, MessageKeys, Outcome, State
from sender_service.store import leases, outbox
from sender_service.store.abandonment import Ending, close_shard
from sender_service.store.leases import Claim, NothingToClaim
from sender_service.store.outbox import ShardKey
from sender_service.store.policies import policy_of
from service_runtime.errors import ServiceError

if TYPE_CHECKING:
    from sender_service.campaigns.directory import ActiveCampaign
    from sender_service.delivery.fair_scheduler import Turns
    from sender_service.delivery.shard_report import ShardReport
    from sender_service.delivery.workplace import Workplace

log = structlog.get_logger()

#: A campaign gives up its turn after so long when another one waits, seconds.
_TURN_SECONDS = 5.0
#: Bounds of the wait for what may be claimed later, seconds.
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.01, 30.0

_CLOSED = Ending(Outcome.SKIPPED, "cancelled", "the campaign was closed before it was sent")
_SOURCE = "channel"


class CampaignDelivery:
    """The work on one campaign. What it knows of it may be begun anew at any time.

    Args:
        workplace: what campaigns share.
        active: the campaign.
    """

    def __init__(self, workplace: Workplace, active: ActiveCampaign) -> None:
        self._workplace = workplace
        self._store = workplace.store
        self._active = active
        self._outage = Outage(
            workplace.store,
            active,
            deadline_seconds=workplace.settings.unreachable_deadline_hours * 3600,
        )

    async def run(self) -> bool:
        """Seal, send, wait or close, until every message has an outcome.

        False: nothing is left to report either, or the campaign never began.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        number = self._active.number
        if not await started(self._workplace, self._active):
            return self._workplace.stopping
        progress = await self._store.read(partial(outbox.progress, campaign=number))
        self._workplace.reporter.add(self._active, progress)
        if await self._store.write(partial(outbox.finish_if_reported, campaign=number)):
            self._workplace.reporter.finish(number)
            return False
        # One brought back to be reported again has nothing to deliver.
        if sum(shard.journaled for shard in progress) < self._active.row.total:
            await self._deliver()
        return True

    async def _deliver(self) -> None:
        job: Job | None = None
        done = False
        while not done and not self._workplace.stopping:
            state = self._active.state
            if state is not None and state.is_terminal:
                done = await self._close(_CLOSED)
            elif state is not State.SENDING:
                if self._outage.lasts:
                    await self._outage.forget()
                await self._active.wait(None)
            elif job is None:
                job = await self._job()
            else:
                done = await self._turn(job)

    async def _job(self) -> Job | None:
        """Return how to send the campaign; None, after a while, if that is not possible."""
        row = self._active.row
        try:
            channel = self._workplace.channels.get(row.channel)
            template = channel.compile(content_from_json(row.content))
        except (ServiceError, ChannelError) as error:
            await self._active.tell_stuck(self._store, _SOURCE, str(error))
            return None
        await self._active.tell(self._store, _SOURCE, "")
        own = self._workplace.settings
        return Job(
            campaign_id=row.campaign_id,
            channel=channel,
            limit=self._workplace.channels.limit(row.channel),
            template=template,
            keys=MessageKeys(
                organisation=row.organisation,
                campaign_id=row.campaign_id,
                content_digest=row.content_digest,
            ),
            policy=policy_of(row, deadline_seconds=own.retry_deadline_hours * 3600),
            window=row.max_in_flight,
            # A lease has to outlast a call of the channel between two renewals.
            lease_seconds=max(
                own.lease_seconds,
                channel.timeout_seconds + LEASE_MARGIN_SECONDS + 2 * own.heartbeat_seconds,
            ),
            heartbeat_seconds=own.heartbeat_seconds,
        )

    async def _turn(self, job: Job) -> bool:
        """Work on one shard, or wait for one; True: every message has an outcome."""
        turns = self._workplace.turns_of(self._active.row.channel)
        async with turns.turn():
            claimed_at = time.monotonic()
            claim = await self._claim(lease_seconds=job.lease_seconds)
            if isinstance(claim, Claim):
                report = await self._send(job, claim, claimed_at, turns)
        if isinstance(claim, NothingToClaim):
            return await self._nothing_to_claim(claim)
        if report.ended is Ended.UNREACHABLE:
            if not await self._outage.note(report.unreachable):
                return await self._close(
                    Ending(Outcome.FAILED, "provider_unreachable", self._outage.problem)
                )
            await self._outage.wait()
        if report.ended is Ended.LEASE_LOST:
            await self._active.wait(_MIN_WAIT_SECONDS)
        return False

    async def _claim(self, *, lease_seconds: float, whole: bool = False) -> Claim | NothingToClaim:
        claim = await self._store.write(
            partial(
                leases.claim,
                campaign=self._active.number,
                owner=self._workplace.instance,
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
            self._journaled(claim.lease.shard, claim.journaled)
        return claim

    def _journaled(self, shard: int, through: int) -> None:
        self._workplace.reporter.journaled(ShardKey(self._active.number, shard), through)

    async def _send(self, job: Job, claim: Claim, claimed_at: float, turns: Turns) -> ShardReport:
        active = self._active
        journaled = claim.journaled

        def may_send() -> bool:
            turn_over = turns.others_wait and time.monotonic() - claimed_at > _TURN_SECONDS
            return active.state is State.SENDING and not self._workplace.stopping and not turn_over

        def note_journaled(shard: int, through: int) -> None:
            nonlocal journaled
            journaled = through
            self._journaled(shard, through)

        def note_answered() -> None:
            if self._outage.lasts:
                self._outage.lasts = False
                self._workplace.begin(self._outage.answered())

        run = ShardDelivery(
            self._store,
            job,
            claim,
            claimed_at=claimed_at,
            may_send=may_send,
            journaled=note_journaled,
            answered=note_answered,
            probe=self._outage.lasts,
        )
        active.on_change = run.wake
        try:
            report = await run.run()
        finally:
            active.on_change = None
        if journaled == claim.last_sequence - claim.first_sequence + 1:
            log.info(
                "shard_finished",
                campaign_id=active.campaign_id,
                shard=claim.lease.shard,
                messages=journaled,
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
        while not self._workplace.stopping:
            claim = await self._claim(
                lease_seconds=self._workplace.settings.lease_seconds, whole=True
            )
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
            size = claim.last_sequence - claim.first_sequence + 1
            self._journaled(claim.lease.shard, size)
        return False
