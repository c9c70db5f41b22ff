"""What can be done with campaigns: the layer under gRPC, one method for each call.

It runs the functions of :mod:`.registration`, :mod:`.lifecycle`, :mod:`.mark_complete`
and :mod:`.repair` in transactions. Once a change is durable it is announced to those
who watch the campaign, and logged.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime.caller import Caller
from service_runtime.errors import StoreBusyError
from status_service.campaigns import (
    lifecycle,
    mark_complete,
    registration,
)
from status_service.campaigns.finishing import Finisher, counted
from status_service.campaigns.manual_completion import ManualCompletion, Request
from status_service.campaigns.mending import Mending
from status_service.campaigns.types import Changed
from status_service.errors import CampaignBusyError
from status_service.recording.meter import Meter
from status_service.recording.transitions import claim_of, log_state_change
from status_service.recording.types import CampaignKey, change_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from service_runtime.database import Store
    from status_service.campaigns.repair import Finding
    from status_service.campaigns.types import NewCampaign, StartOrder
    from status_service.domain import State
    from status_service.recording.counting import Count
    from status_service.recording.notifier import Notifier

log = structlog.get_logger()


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
        largest_total: int,
        stopping: asyncio.Event | None = None,
    ) -> None:
        self._largest_total = largest_total
        self._stopping = stopping or asyncio.Event()
        self._meter = meter or Meter()
        self._store = store
        self._notifier = notifier
        self._finisher = Finisher()
        #: Finds what is wrong with open campaigns.
        self.mending = Mending(
            store,
            notifier,
            self._finisher,
            stall_threshold=stall_threshold,
            meter=self._meter,
        )

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
        return await self._finisher.finish(
            counted(
                self._store,
                lambda count: self._changed(partial(start, count=count), caller, campaign_id, ""),
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
        return await self._finisher.finish(completion.run())

    async def start_due(self) -> None:
        """Start every scheduled campaign whose time has come, each in its own transaction.

        One that somebody else holds locked, such as another instance that starts it, is
        left to the next pass.
        """
        for number in await self._store.read(lifecycle.due):
            try:
                started = await counted(self._store, partial(self._start_due, number))
            except StoreBusyError as error:
                log.warning("schedule_postponed", campaign=number, error=error.message)
                continue
            if started is not None:
                self._publish(started, Caller(started.campaign.organisation, "schedule"))

    async def _start_due(self, number: int, count: Count | None) -> Changed | None:
        return await self._store.write(partial(lifecycle.start_due, number=number, count=count))

    async def repair(
        self,
        caller: Caller,
        *,
        dry_run: bool = False,
        stall_threshold: timedelta | None = None,
        campaign_id: str = "",
    ) -> list[Finding]:
        """Diagnose open campaigns and repair what is safe: :meth:`.mending.Mending.repair`."""
        return await self.mending.repair(
            caller, dry_run=dry_run, stall_threshold=stall_threshold, campaign_id=campaign_id
        )

    async def _change(
        self,
        work: Callable[[sa.Connection], Changed],
        caller: Caller,
        campaign_id: str,
        *,
        reason: str = "",
    ) -> Changed:
        return await self._finisher.finish(self._changed(work, caller, campaign_id, reason))

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
