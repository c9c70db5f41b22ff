"""Work through one shard: dispatch messages, write down what became of them.

A few worker tasks take messages from a queue; one loop commits what they finished
and fills the queue again, so that a committed intent covers everything that is in the
provider's hands.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from sender_service.delivery.lease_keeper import LeaseKeeper
from sender_service.delivery.plan import LEASE_MARGIN_SECONDS
from sender_service.delivery.shard_commits import ShardCommits
from sender_service.delivery.shard_report import Ended, ShardReport
from sender_service.delivery.shard_workers import ShardWorkers
from sender_service.domain import room
from sender_service.errors import LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.delivery.gate import Gate
    from sender_service.delivery.plan import DeliveryPlan
    from sender_service.store.leases import Claim
    from sender_service.store.shards import Advance
    from service_runtime.database import Store

log = structlog.get_logger()

#: Finished messages wait at most this long to be written down, seconds.
_COMMIT_SECONDS = 0.05
#: How often the loop looks around when nothing wakes it, seconds.
_IDLE_SECONDS = 1.0


class ShardDelivery:
    """One run over one claimed shard.

    Args:
        store: the sender's.
        directory: announces how far the outbox of the shard goes.
        active: the campaign.
        plan: what is the same for all its messages.
        claim: the shard, claimed at ``claimed_at``.
        claimed_at: on the monotonic clock, before the claim was made.
        gate: whether the provider takes messages; half open, it takes one at a time.
        may_send: called before each message; once it returns false, the run ends.
        turn_is_over: likewise, once it returns true; calls that run are let be.

    Attributes:
        report: what the run did.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        active: ActiveCampaign,
        plan: DeliveryPlan,
        claim: Claim,
        *,
        claimed_at: float,
        gate: Gate,
        may_send: Callable[[], bool],
        turn_is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._active = active
        self._plan = plan
        self._lease = claim.lease
        self._gate = gate
        self._may_send = may_send
        self._turn_is_over = turn_is_over
        self._progress = asyncio.Event()
        self._failure: BaseException | None = None
        self._keeper = LeaseKeeper(
            store,
            plan.campaign_id,
            claim.lease,
            claimed_at=claimed_at,
            lease_seconds=plan.lease_seconds,
            heartbeat_seconds=plan.heartbeat_seconds,
        )
        self.report = ShardReport(plan.campaign_id, claim.lease.shard, gate.shared.tally)
        self._unfinished = claim.size - claim.journaled
        self._commits = ShardCommits(store, directory, claim, self.report)
        self._workers = ShardWorkers(
            plan, gate, self._commits, may_dispatch=self._may_dispatch, progress=self._progress
        )

    @property
    def is_finished(self) -> bool:
        """True once every message of the shard has an outcome."""
        return self._commits.is_finished

    async def run(self) -> ShardReport:
        """Send until nothing is left to do now, or until something forbids it.

        The lease is released at the end. A run that is cancelled cancels its calls and
        writes down what is finished. A message whose handover has begun counts as one
        whose answer was lost; any other is requeued.
        """
        tasks = self._workers.tasks(self._unfinished)
        tasks.append(asyncio.create_task(self._keeper.run()))
        tasks.append(asyncio.create_task(self._follow_campaign()))
        for task in tasks:
            task.add_done_callback(self._note_failure)
        try:
            await self._drive()
        except LeaseLostError as error:
            self._note_lost(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._let_go()
            self.report.log()
        return self.report

    async def _follow_campaign(self) -> None:
        """Look at once whether the run may still send, when the campaign changes."""
        while True:
            await self._active.wait(None)
            self._progress.set()

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        """End the run with what a task of it fails with: a lost lease, or a defect."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._progress.set()

    async def _drive(self) -> None:
        while True:
            stopping = self._stopping()
            if stopping:
                self._workers.requeue_all()
            free = room(
                window=self._workers.window,
                in_doubt=self._commits.in_doubt,
                finished=self._commits.waiting,
            )
            advance = await self._commit(take=0 if stopping else free)
            if advance.released:
                return
            await self._worth_committing(advance.due_seconds)
            if self._failure is not None:
                raise self._failure

    def _stopping(self) -> bool:
        may_send, is_open = self._may_send(), self._gate.may_send
        if self.report.ended is Ended.IDLE:
            if not is_open:
                self.report.ended = Ended.HELD
            elif not may_send or self._turn_is_over():
                self.report.ended = Ended.STOPPED
        if not may_send or not is_open:
            self._workers.hand_back()
        return self.report.ended is not Ended.IDLE

    async def _worth_committing(self, due_seconds: float | None) -> None:
        """Wait until a commit would write enough, or take something, or the run has failed."""
        enough = max(self._workers.window // 2, 1)
        due = None if due_seconds is None else time.monotonic() + due_seconds
        first_finished: float | None = None
        while True:
            finished = self._commits.waiting
            if finished >= enough or finished == self._commits.in_doubt or self._failure:
                return
            if self._stopping() and self._workers.has_messages:
                return
            if self._workers.has_messages and self._may_dispatch():
                # A worker that was refused a moment ago sleeps until it is woken.
                self._workers.wake()
            now = time.monotonic()
            if finished and first_finished is None:
                first_finished = now
            waits = [_IDLE_SECONDS]
            if first_finished is not None:
                waits.append(first_finished + _COMMIT_SECONDS - now)
            if due is not None and self._commits.in_doubt < self._workers.window:
                waits.append(due - now)
            if min(waits) <= 0:
                return
            self._progress.clear()
            try:
                # Not wait_for: in Python 3.11 it loses a cancellation that comes
                # in the same moment as the event.
                async with asyncio.timeout(min(waits)):
                    await self._progress.wait()
            except TimeoutError:
                continue

    async def _let_go(self) -> None:
        """Write down what is finished and release the lease, if the run broke off."""
        if self._keeper.lost or self._commits.is_released:
            return
        self._workers.requeue_all()
        try:
            await self._commit(take=0, release=True)
        except LeaseLostError as error:
            self._note_lost(error)

    def _note_lost(self, error: LeaseLostError) -> None:
        self._keeper.lost = True
        self.report.ended = Ended.LEASE_LOST
        log.warning(
            "lease_lost",
            campaign_id=self._plan.campaign_id,
            shard=self._lease.shard,
            epoch=self._lease.epoch,
            unwritten=self._commits.waiting,
            error=error.message,
        )

    async def _commit(self, *, take: int, release: bool = False) -> Advance:
        advance = await self._commits.commit(
            take=take, release=release, untried_first=self._gate.wants_untried
        )
        self._workers.add(advance.messages)
        return advance

    def _may_dispatch(self) -> bool:
        """Return whether a message may be handed over at this moment."""
        return (
            self.report.ended is Ended.IDLE
            and self._gate.may_send
            and self._may_send()
            and not self._turn_is_over()
            and self._keeper.outlasts(self._plan.channel.timeout_seconds + LEASE_MARGIN_SECONDS)
        )
