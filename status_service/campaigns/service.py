"""What can be done with campaigns: the layer under gRPC, one method for each call.

It runs the functions of :mod:`.registration`, :mod:`.lifecycle`, :mod:`.mark_complete`
and :mod:`.repair` in transactions. Once a change is durable it is announced to those
who watch the campaign, and logged.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from service_runtime.caller import Caller
from service_runtime.errors import ServiceError, StoreBusyError
from status_service.campaigns import lifecycle, mark_complete, registration, repair
from status_service.campaigns.manual_completion import ManualCompletion, Request
from status_service.campaigns.types import Changed
from status_service.domain import Cause, State
from status_service.errors import CampaignBusyError, CampaignNotFoundError
from status_service.recording.counting import UncountedError, count_by_number
from status_service.recording.meter import Meter
from status_service.recording.transitions import claim_of, log_state_change
from status_service.recording.types import CampaignKey, change_of, key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    import sqlalchemy as sa

    from service_runtime.database import Store
    from status_service.campaigns.repair import Finding
    from status_service.campaigns.types import NewCampaign, StartOrder
    from status_service.recording.counting import Count
    from status_service.recording.notifier import Notifier

log = structlog.get_logger()
#: Open campaigns that one transaction reads.
_LOOKED_AT_ONCE = 200
T = TypeVar("T")


class CampaignService:
    """The campaigns of all organisations, seen by one caller at a time.

    Args:
        store: the database.
        notifier: announces every campaign that changed.
        stall_threshold: how long without a new result is too long, unless a call
            names another threshold.
        meter: counts changes of state and repairs.
        largest_total: a campaign with more messages is not started.
        stopping: set when the service stops.
    """

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        *,
        stall_threshold: timedelta,
        meter: Meter | None = None,
        largest_total: int = lifecycle.DEFAULT_LARGEST_TOTAL,
        stopping: asyncio.Event | None = None,
    ) -> None:
        self._largest_total = largest_total
        self._stopping = stopping or asyncio.Event()
        self._meter = meter or Meter()
        self._store = store
        self._notifier = notifier
        self._stall_threshold = stall_threshold
        self._tasks: set[asyncio.Task[Any]] = set()

    async def create(self, caller: Caller, new: NewCampaign) -> Changed:
        """Register a campaign: :func:`.registration.create`."""
        return await self._change(
            partial(registration.create, caller=caller, new=new), caller, new.campaign_id
        )

    async def start(self, caller: Caller, campaign_id: str, order: StartOrder) -> Changed:
        """Seal and start a campaign: :func:`.lifecycle.start`.

        Raises:
            CampaignBusyError: somebody else holds it locked; so for every change.
        """
        start = partial(
            lifecycle.start,
            caller=caller,
            campaign_id=campaign_id,
            order=order,
            largest_total=self._largest_total,
        )
        return await self._finish(
            self._counted(
                lambda count: self._changed(partial(start, count=count), caller, campaign_id, "")
            )
        )

    async def change_state(
        self,
        caller: Caller,
        campaign_id: str,
        target: State,
        *,
        reason: str,
        revision: int = 0,
    ) -> Changed:
        """Pause, resume or cancel a campaign: :func:`.lifecycle.change_state`."""
        return await self._change(
            partial(
                lifecycle.change_state,
                caller=caller,
                campaign_id=campaign_id,
                target=target,
                reason=reason,
                revision=revision,
            ),
            caller,
            campaign_id,
            reason=reason,
        )

    async def mark_complete(
        self,
        caller: Caller,
        campaign_id: str,
        *,
        reason: str,
        force: bool,
        dry_run: bool,
        revision: int,
    ) -> Changed:
        """Complete a fully processed campaign: :mod:`.mark_complete`.

        It ends what it began also where the caller goes away.

        Raises:
            ShuttingDownError: the service stops; the same call continues later.
        """
        if dry_run:
            campaign, known = await self._store.read_long(
                partial(
                    mark_complete.decide,
                    caller=caller,
                    campaign_id=campaign_id,
                    force=force,
                    revision=revision,
                )
            )
            return Changed(campaign, transitioned=known is not None, before=campaign)

        async def change(work: Callable[[sa.Connection], Changed]) -> Changed:
            return await self._changed(work, caller, campaign_id, reason)

        request = Request(caller, campaign_id, reason, force, revision)
        completion = ManualCompletion(self._store, change, self._stopping, request)
        return await self._finish(completion.run())

    async def start_due(self) -> None:
        """Start every scheduled campaign whose time has come, each in its own transaction.

        One that somebody else holds locked, such as another instance that starts it, is
        left to the next pass.
        """
        for number in await self._store.read(lifecycle.due):
            try:
                started = await self._counted(partial(self._start_due, number))
            except StoreBusyError as error:
                log.warning("schedule_postponed", campaign=number, error=error.message)
                continue
            if started is not None:
                self._publish(started, Caller(started.campaign.organisation, "schedule"))

    async def _start_due(self, number: int, count: Count | None) -> Changed | None:
        return await self._store.write(partial(lifecycle.start_due, number=number, count=count))

    async def _counted(self, write: Callable[[Count | None], Awaitable[T]]) -> T:
        """Run a write again with a count of the results, as often as it asks for one."""
        count = None
        while True:
            try:
                return await write(count)
            except UncountedError as uncounted:
                count = await self._store.read_long(
                    partial(count_by_number, number=uncounted.campaign)
                )

    async def repair(
        self,
        caller: Caller | None,
        *,
        dry_run: bool = False,
        stall_threshold: timedelta | None = None,
        campaign_id: str = "",
    ) -> list[Finding]:
        """Diagnose open campaigns and repair what is safe, each in its own transaction.

        Args:
            caller: who asks for those of its organisation; None: the reconcile pass, for
                everyone's.
            dry_run: diagnose only.
            stall_threshold: how long without a new result is too long.
            campaign_id: only this one.

        Returns:
            A finding for each campaign that was open; for ``campaign_id``, in any state.

        Raises:
            CampaignNotFoundError: there is no campaign ``campaign_id``.
        """
        threshold = stall_threshold or self._stall_threshold
        organisation = None if caller is None else caller.organisation
        if campaign_id and organisation is not None:
            keys = [CampaignKey(organisation, campaign_id)]
        else:
            keys = await self._store.read(partial(repair.open_campaigns, organisation=organisation))
        actor = caller or Caller("", "reconcile")
        findings = []
        for start in range(0, len(keys), _LOOKED_AT_ONCE):
            part = keys[start : start + _LOOKED_AT_ONCE]
            for found in await self._store.read(
                partial(repair.look, keys=part, stall_threshold=threshold)
            ):
                if found.repaired and not dry_run:
                    key = key_of(found.campaign)
                    findings.append(await self._finish(self._repair(key, found, threshold, actor)))
                else:
                    findings.append(found)
        if campaign_id and not findings:
            raise CampaignNotFoundError(campaign_id)
        return findings

    async def _repair(
        self, key: CampaignKey, examined: Finding, threshold: timedelta, actor: Caller
    ) -> Finding:
        work = partial(repair.repair, key=key, stall_threshold=threshold, actor=actor)
        try:
            found = await self._counted(
                lambda count: self._store.write(partial(work, count=count or examined.count))
            )
        except StoreBusyError as error:
            # The other campaigns don't wait for it, and a later pass repairs it.
            log.warning(
                "campaign_repair_postponed",
                campaign_id=key.campaign_id,
                organisation=key.organisation,
                diagnosis=examined.diagnosis,
                error=error.message,
            )
            return replace(examined, repaired=False, is_locked=True)
        if not found.repaired:
            return found  # its last result came after it was examined
        if found.diagnosis is not None:
            self._meter.repaired(found.diagnosis)
        log.error(
            "campaign_repaired",
            campaign_id=found.campaign.campaign_id,
            organisation=found.campaign.organisation,
            diagnosis=found.diagnosis,
            action=found.action,
            note="this is a defect or a change by hand in the database",
        )
        change = change_of(found.campaign)
        self._notifier.publish([change])
        if change.state is not State(examined.campaign.state):
            self._meter.changed(change.state, Cause.RECONCILE)
            log_state_change(
                change,
                before=State(examined.campaign.state),
                cause=Cause.RECONCILE,
                actor=actor.actor,
                reason=f"repair: {found.diagnosis}",
                on_behalf_of=actor.on_behalf_of,
            )
        return found

    async def _change(
        self,
        work: Callable[[sa.Connection], Changed],
        caller: Caller,
        campaign_id: str,
        *,
        reason: str = "",
    ) -> Changed:
        return await self._finish(self._changed(work, caller, campaign_id, reason))

    async def _changed(
        self,
        work: Callable[[sa.Connection], Changed],
        caller: Caller,
        campaign_id: str,
        reason: str,
    ) -> Changed:
        known = self._notifier.revision(CampaignKey(caller.organisation, campaign_id))
        try:
            changed = await self._store.write(work)
        except StoreBusyError as error:
            if not campaign_id:
                raise
            raise CampaignBusyError(campaign_id) from error
        self._publish(changed, caller, reason, known=known)
        return changed

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` to its end, also where the caller goes away meanwhile.

        What is written must reach the watchers, the streams and the log.
        """
        task = asyncio.create_task(_outcome(work))
        self._tasks.add(task)  # the loop alone would not hold on to it
        task.add_done_callback(self._tasks.discard)
        done = await asyncio.shield(task)
        if isinstance(done, ServiceError):
            raise done
        return done

    def _publish(
        self, changed: Changed, caller: Caller, reason: str = "", *, known: int = 0
    ) -> None:
        if not changed.is_news:
            return
        found = 0 if changed.before is None else changed.before.revision
        change = change_of(changed.campaign).based_on(found, known=known)
        self._notifier.publish([change])
        if change.state is not changed.state_before:
            self._meter.changed(change.state, changed.cause)
            log_state_change(
                change,
                before=changed.state_before,
                cause=changed.cause,
                actor=caller.actor,
                reason=reason,
                on_behalf_of=caller.on_behalf_of,
            )
        elif changed.before and changed.before.schedule_time != changed.campaign.schedule_time:
            log.info(
                "campaign_rescheduled",
                campaign_id=change.key.campaign_id,
                organisation=change.key.organisation,
                schedule_time_before=changed.before.schedule_time.isoformat(),
                schedule_time=changed.campaign.schedule_time.isoformat(),
                actor=caller.actor,
                **claim_of(caller.on_behalf_of),
            )


async def _outcome(work: Coroutine[Any, Any, T]) -> T | ServiceError:
    """Return what ``work`` returns, or how it is refused.

    A refusal is for the caller, who may be gone by then. Any other exception is a
    defect, which the loop logs where nobody is left to see it.
    """
    try:
        return await work
    except ServiceError as refusal:
        return refusal
