"""Bring every campaign that is not finished forward, side by side.

One task for each campaign. What a crash left between two steps of StartCampaign,
in a shard, or in the journal is picked up here at the next start.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from sender_service import campaigns, convert, journal, leases, sealing
from sender_service.active import ActiveCampaign
from sender_service.channels.errors import ChannelError
from sender_service.closing import Ending, close_shard
from sender_service.delivery import LEASE_MARGIN_SECONDS, Ended, Report, ShardRun
from sender_service.domain import Backoff, Guarantee, MessageKeys, Outcome, Phase, Policy, State
from sender_service.errors import StatusServiceUnavailableError, TransitionNotAllowedError
from sender_service.handover import Job
from sender_service.journal import ShardKey
from sender_service.leases import Claim, NothingToClaim
from sender_service.turns import Turns
from service_runtime.errors import ServiceError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import sqlalchemy as sa

    from clients.status import StatusClient
    from sender_service.registry import ChannelRegistry
    from sender_service.reporter import Reporter
    from sender_service.settings import SenderSettings
    from service_runtime.database import Store

log = structlog.get_logger()

#: A campaign gives up its turn after so long when another one waits, seconds.
_TURN_SECONDS = 5.0
#: Bounds of the wait for what may be claimed later, seconds.
_MIN_WAIT, _MAX_WAIT = 0.01, 30.0
#: The longest wait before the status service is asked again to seal, seconds.
_MAX_SEAL_WAIT = 3.0
#: How often a campaign that only a person can help is looked at again, seconds.
_STUCK_SECONDS = 60.0
#: What a cancelled delivery may take to write down what is finished, seconds.
_LET_GO_SECONDS = 5.0

_CLOSED = Ending(Outcome.SKIPPED, "cancelled", "the campaign was closed before it was sent")
_PROVIDER, _CHANNEL, _STATUS = "provider", "channel", "status"


class Runner:
    """The campaigns this process works on.

    Args:
        store: the sender's.
        channels: where messages go.
        client: reaches the status service.
        settings: of the sender.
        instance: the name of this process, which owns the leases.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        client: StatusClient,
        settings: SenderSettings,
        *,
        instance: str,
    ) -> None:
        self._store = store
        self._channels = channels
        self._client = client
        self._settings = settings
        self._instance = instance
        self._active: dict[int, ActiveCampaign] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, Turns] = {}
        self._stopping = False
        self._reporter: Reporter | None = None

    @property
    def reporter(self) -> Reporter:
        """The reporter, which is told of every entry in the journal."""
        if self._reporter is None:
            raise RuntimeError("the runner was not given its reporter")
        return self._reporter

    async def start(self, reporter: Reporter) -> None:
        """Take up what is not finished."""
        self._reporter = reporter
        for row in await self._store.read(campaigns.open_campaigns):
            log.info("campaign_taken_up", campaign_id=row.campaign_id, phase=row.phase)
            self.add(row)

    def add(self, row: sa.Row[Any], state: State | None = None) -> None:
        """Work on a frozen or started campaign; ``state`` if the status service told it."""
        active = self._active.get(row.campaign)
        if active is None:
            active = self._active[row.campaign] = ActiveCampaign(row)
            self._begin(self._supervise(active))
        if state is not None:
            active.set_state(state)
        active.wake()

    def finished(self, active: ActiveCampaign) -> None:
        """Note that every outcome of a campaign is acknowledged."""
        self._active.pop(active.number, None)
        self._begin(self._log_finished(active))

    async def stop(self, grace_seconds: float) -> None:
        """Launch nothing more, wait for what is in flight, write it down.

        What is not finished within ``grace_seconds`` is left in doubt.
        """
        self._stopping = True
        for active in self._active.values():
            active.wake()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in late:
            task.cancel()
        if late:
            log.warning("deliveries_cut_short", campaigns=len(late))
            await asyncio.wait(late, timeout=_LET_GO_SECONDS)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self, active: ActiveCampaign) -> None:
        backoff = Backoff(first_seconds=1, max_seconds=_MAX_WAIT)
        while not self._stopping:
            try:
                await self._run(active)
            except StoreUnavailableError as error:
                log.warning("delivery_waits", campaign_id=active.campaign_id, error=error.message)
            except Exception:
                log.exception(
                    "delivery_crashed",
                    campaign_id=active.campaign_id,
                    action="it is tried again; report the stack if it comes back",
                )
            else:
                return
            await active.wait(backoff.next_seconds())

    async def _run(self, active: ActiveCampaign) -> None:
        if not await self._started(active):
            if not self._stopping:
                self._active.pop(active.number, None)
            return
        number = active.number
        self.reporter.add(
            active, await self._store.read(partial(journal.progress, campaign=number))
        )
        if await self._store.write(partial(journal.finish_if_reported, campaign=number)):
            self.reporter.finish(number)
            return
        await self._deliver(active)

    async def _started(self, active: ActiveCampaign) -> bool:
        """Have the status service seal a campaign that is only frozen yet.

        False: it is finished, was cancelled before it began, or this process stops.
        """
        backoff = Backoff(first_seconds=0.5, max_seconds=_MAX_SEAL_WAIT)
        while not self._stopping:
            row = await self._store.read(
                partial(
                    campaigns.get,
                    organisation=active.row.organisation,
                    campaign_id=active.campaign_id,
                )
            )
            if row.phase != Phase.FROZEN:
                return bool(row.phase == Phase.STARTED)
            try:
                sealed = await sealing.seal(self._client, row, row.schedule_time)
            except TransitionNotAllowedError as error:
                log.warning(
                    "campaign_dropped", campaign_id=active.campaign_id, reason=error.message
                )
                await self._store.write(
                    partial(campaigns.drop_unstarted, campaign=active.number, problem=error.message)
                )
                return False
            except StatusServiceUnavailableError as error:
                if await active.tell(self._store, _STATUS, error.message):
                    log.warning("start_waits", campaign_id=active.campaign_id, reason=error.message)
                await active.wait(backoff.next_seconds())
            except ServiceError as error:
                await self._tell_stuck(active, _STATUS, error.message)
            else:
                await active.tell(self._store, _STATUS, "")
                await self._store.write(partial(campaigns.mark_started, campaign=active.number))
                active.set_state(convert.state_of(sealed.campaign.state))
                return True
        return False

    async def _deliver(self, active: ActiveCampaign) -> None:
        """Send, wait or close as the state says, until every message has an outcome."""
        job: Job | None = None
        unreachable = Backoff(first_seconds=1, max_seconds=_MAX_WAIT)
        done = False
        while not done and not self._stopping:
            if active.state is not None and active.state.is_terminal:
                done = await self._close(active, _CLOSED)
            elif active.state is not State.SENDING:
                await self._forget_outage(active)
                await active.wait(None)
            elif job is None:
                job = await self._job(active)
            else:
                done = await self._turn(active, job, unreachable)

    async def _job(self, active: ActiveCampaign) -> Job | None:
        """Return how to send a campaign; None, after a while, if that is not possible."""
        row = active.row
        try:
            channel = self._channels.get(row.channel)
            template = channel.compile(convert.stored_content(row.content))
        except (ServiceError, ChannelError) as error:
            await self._tell_stuck(active, _CHANNEL, str(error))
            return None
        await active.tell(self._store, _CHANNEL, "")
        own = self._settings
        # A lease has to outlast a call of the channel between two renewals.
        lease_seconds = max(
            own.lease_seconds,
            channel.timeout_seconds + LEASE_MARGIN_SECONDS + 2 * own.heartbeat_seconds,
        )
        return Job(
            campaign_id=row.campaign_id,
            channel=channel,
            limit=self._channels.limit(row.channel),
            template=template,
            keys=MessageKeys(
                organisation=row.organisation,
                campaign_id=row.campaign_id,
                content_digest=row.content_digest,
            ),
            policy=Policy(
                guarantee=Guarantee(row.guarantee),
                max_attempts=row.max_attempts,
                retry_backoff_seconds=row.retry_backoff_ms / 1000,
                deadline_seconds=own.retry_deadline_hours * 3600,
            ),
            window=row.window,
            lease_seconds=lease_seconds,
            heartbeat_seconds=own.heartbeat_seconds,
        )

    async def _turn(self, active: ActiveCampaign, job: Job, unreachable: Backoff) -> bool:
        """Work on one shard, or wait for one; True: every message has an outcome."""
        turns = self._turns.setdefault(
            active.row.channel, Turns(self._settings.concurrent_campaigns)
        )
        async with turns.turn():
            claimed_at = time.monotonic()
            claim = await self._claim(active, lease_seconds=job.lease_seconds)
            if isinstance(claim, Claim):
                report = await self._send(active, job, claim, claimed_at, turns)
        if isinstance(claim, NothingToClaim):
            return await self._nothing_to_claim(active, claim)
        if report.answered:
            unreachable.reset()
        if report.ended is Ended.UNREACHABLE:
            return await self._wait_for_provider(active, report, unreachable)
        if report.ended is Ended.LEASE_LOST:
            await active.wait(_MIN_WAIT)
        return False

    async def _claim(
        self, active: ActiveCampaign, *, lease_seconds: float, whole: bool = False
    ) -> Claim | NothingToClaim:
        claim = await self._store.write(
            partial(
                leases.claim,
                campaign=active.number,
                owner=self._instance,
                lease_seconds=lease_seconds,
                guarantee=Guarantee(active.row.guarantee),
                whole=whole,
            )
        )
        if isinstance(claim, Claim) and claim.taken_over:
            log.warning(
                "shard_taken_over",
                campaign_id=active.campaign_id,
                shard=claim.lease.shard,
                epoch=claim.lease.epoch,
                in_doubt=claim.taken_over,
                guarantee=active.row.guarantee,
            )
            key = ShardKey(active.number, claim.lease.shard)
            self.reporter.journaled(key, claim.journaled)
        return claim

    async def _send(
        self, active: ActiveCampaign, job: Job, claim: Claim, claimed_at: float, turns: Turns
    ) -> Report:
        begun = time.monotonic()
        journaled = claim.journaled

        def may_send() -> bool:
            turn_over = turns.others_wait and time.monotonic() - begun > _TURN_SECONDS
            return active.state is State.SENDING and not self._stopping and not turn_over

        def note_journaled(shard: int, through: int) -> None:
            nonlocal journaled
            journaled = through
            self.reporter.journaled(ShardKey(active.number, shard), through)

        def note_answered() -> None:
            if active.unreachable:
                active.unreachable = False
                self._begin(self._provider_back(active))

        run = ShardRun(
            self._store,
            job,
            claim,
            claimed_at=claimed_at,
            may_send=may_send,
            journaled=note_journaled,
            answered=note_answered,
            probe=active.unreachable,
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

    async def _nothing_to_claim(self, active: ActiveCampaign, nothing: NothingToClaim) -> bool:
        if nothing.unfinished == 0:
            return True
        wait = _MAX_WAIT if nothing.wait_seconds is None else nothing.wait_seconds
        await active.wait(min(max(wait, _MIN_WAIT), _MAX_WAIT))
        return False

    async def _wait_for_provider(
        self, active: ActiveCampaign, report: Report, unreachable: Backoff
    ) -> bool:
        """Wait before the next try to reach the provider; True: the deadline ended it all."""
        reply = report.unreachable
        said = " ".join(part for part in (reply.code, reply.detail) if part) if reply else ""
        problem = f"channel {active.row.channel} can't reach its provider: {said}"
        active.unreachable = True
        since = await self._store.write(partial(campaigns.note_unreachable, campaign=active.number))
        if since > self._settings.unreachable_deadline_hours * 3600:
            log.error(
                "provider_given_up",
                campaign_id=active.campaign_id,
                hours=round(since / 3600, 1),
                action="what was not sent fails; send it again in a campaign of its own",
            )
            return await self._close(
                active, Ending(Outcome.FAILED, "provider_unreachable", problem[:500])
            )
        if await active.tell(self._store, _PROVIDER, problem):
            log.warning(
                "provider_unreachable",
                campaign_id=active.campaign_id,
                channel=active.row.channel,
                reason=said,
            )
        await active.wait(unreachable.next_seconds())
        return False

    async def _forget_outage(self, active: ActiveCampaign) -> None:
        """Begin anew to count how long the provider is away: a pause is no part of it."""
        if active.unreachable:
            active.unreachable = False
            await active.tell(self._store, _PROVIDER, "")
            await self._store.write(partial(campaigns.note_reachable, campaign=active.number))

    async def _provider_back(self, active: ActiveCampaign) -> None:
        log.info("provider_back", campaign_id=active.campaign_id, channel=active.row.channel)
        try:
            await active.tell(self._store, _PROVIDER, "")
            await self._store.write(partial(campaigns.note_reachable, campaign=active.number))
        except StoreUnavailableError as error:
            log.warning("problem_not_cleared", campaign_id=active.campaign_id, error=error.message)

    async def _close(self, active: ActiveCampaign, ending: Ending) -> bool:
        """End every message without an outcome; True: none is left."""
        closed = 0
        while not self._stopping:
            claim = await self._claim(
                active, lease_seconds=self._settings.lease_seconds, whole=True
            )
            if isinstance(claim, NothingToClaim):
                if closed:
                    log.info(
                        "campaign_closed",
                        campaign_id=active.campaign_id,
                        messages=closed,
                        outcome=ending.outcome.name.lower(),
                        code=ending.code,
                    )
                return await self._nothing_to_claim(active, claim)
            closed += await self._store.write(partial(close_shard, claim=claim, ending=ending))
            self.reporter.journaled(
                ShardKey(active.number, claim.lease.shard),
                claim.last_sequence - claim.first_sequence + 1,
            )
        return False

    async def _tell_stuck(self, active: ActiveCampaign, source: str, problem: str) -> None:
        """Say that only a person can help, and wait a while."""
        if await active.tell(self._store, source, problem):
            log.error(
                "campaign_stuck",
                campaign_id=active.campaign_id,
                reason=problem,
                action="needs manual intervention; it goes on by itself afterwards",
            )
        await active.wait(_STUCK_SECONDS)

    async def _log_finished(self, active: ActiveCampaign) -> None:
        try:
            counts = await self._store.read(partial(journal.counts, campaign=active.number))
        except StoreUnavailableError as error:
            log.warning("counts_not_read", campaign_id=active.campaign_id, error=error.message)
            return
        log.info(
            "campaign_delivered",
            campaign_id=active.campaign_id,
            total=active.row.total,
            **counts,
        )
