"""What can be done with campaigns: the layer under gRPC, one method for each call.

It runs the functions of :mod:`.lifecycle`, :mod:`.mark_complete` and :mod:`.repair`
in transactions, and tells watchers and the log what changed once it is durable.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from service_runtime.errors import ServiceError
from status_service.campaigns import lifecycle, mark_complete, repair
from status_service.domain import Cause, State
from status_service.errors import CampaignNotFoundError
from status_service.recording import lookup
from status_service.recording.completion_log import log_completed
from status_service.recording.types import CampaignKey, change_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime
    from typing import Any

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from status_service.campaigns.lifecycle import Changed
    from status_service.campaigns.repair import Finding
    from status_service.recording.notifier import Notifier

log = structlog.get_logger()
T = TypeVar("T")


class CampaignService:
    """The campaigns of all organisations, seen by one caller at a time.

    Args:
        store: the database.
        changes: told of every campaign that changed.
        stall_threshold: how long without a new result is too long, where a call
            does not say.
    """

    def __init__(self, store: Store, changes: Notifier, *, stall_threshold: timedelta) -> None:
        self._store = store
        self._changes = changes
        self._stall_threshold = stall_threshold
        self._tasks: set[asyncio.Task[Any]] = set()

    async def create(
        self,
        caller: Caller,
        *,
        campaign_id: str,
        request_id: str,
        display_name: str,
        channel: str,
    ) -> Changed:
        """Register a campaign: :func:`.lifecycle.create`."""
        return await self._change(
            partial(
                lifecycle.create,
                caller=caller,
                campaign_id=campaign_id,
                request_id=request_id,
                display_name=display_name,
                channel=channel,
            ),
            caller.actor,
        )

    async def start(
        self, caller: Caller, campaign_id: str, *, total: int, start_time: datetime | None
    ) -> Changed:
        """Seal and start a campaign: :func:`.lifecycle.start`."""
        return await self._change(
            partial(
                lifecycle.start,
                caller=caller,
                campaign_id=campaign_id,
                total=total,
                start_time=start_time,
            ),
            caller.actor,
        )

    async def change_state(
        self, caller: Caller, campaign_id: str, target: State, *, reason: str
    ) -> Changed:
        """Pause, resume or cancel a campaign: :func:`.lifecycle.change_state`."""
        return await self._change(
            partial(
                lifecycle.change_state,
                caller=caller,
                campaign_id=campaign_id,
                target=target,
                reason=reason,
            ),
            caller.actor,
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
        """Complete a fully processed campaign: :func:`.mark_complete.mark_complete`."""
        work = partial(
            mark_complete.mark_complete,
            caller=caller,
            campaign_id=campaign_id,
            reason=reason,
            force=force,
            dry_run=dry_run,
            revision=revision,
        )
        if dry_run:
            return await self._store.read(work)
        return await self._change(work, caller.actor, completes_as=Cause.MANUAL, reason=reason)

    async def start_due(self) -> None:
        """Start every scheduled campaign whose time has come."""
        for campaign in await self._store.write(lifecycle.start_due):
            self._publish(campaign, "schedule", Cause.SCHEDULE, "")

    async def repair(
        self,
        organisation: str | None,
        actor: str,
        *,
        dry_run: bool = False,
        stall_threshold: timedelta | None = None,
        campaign_id: str = "",
    ) -> list[Finding]:
        """Diagnose open campaigns and repair what is safe, each in its own transaction.

        Args:
            organisation: whose; None: everyone's, for the reconcile pass.
            actor: for the audit trail.
            dry_run: diagnose only.
            stall_threshold: how long without a new result is too long.
            campaign_id: only this one.

        Returns:
            A finding for each campaign that was open; for the one asked for, in
            any state.

        Raises:
            CampaignNotFoundError: there is no campaign ``campaign_id``.
        """
        threshold = stall_threshold or self._stall_threshold
        if campaign_id and organisation is not None:
            keys = [CampaignKey(organisation, campaign_id)]
        else:
            keys = await self._store.read(partial(repair.open_campaigns, organisation=organisation))
        findings = []
        for key in keys:
            try:
                found = await self._store.read(partial(_examined, key=key, threshold=threshold))
            except CampaignNotFoundError:
                if campaign_id:
                    raise
                continue  # taken out by hand since it was listed
            if found.repaired and not dry_run:
                found = await self._finish(self._repair(key, threshold, actor))
            findings.append(found)
        return findings

    async def _repair(self, key: CampaignKey, threshold: timedelta, actor: str) -> Finding:
        found = await self._store.write(
            partial(repair.repair, key=key, stall_threshold=threshold, actor=actor)
        )
        if not found.repaired:
            return found  # its last result came between the two looks
        log.error(
            "campaign_repaired",
            campaign_id=found.campaign.campaign_id,
            organisation=found.campaign.organisation,
            diagnosis=found.diagnosis,
            action=found.action,
            note="this is a defect or a change by hand in the database",
        )
        change = change_of(found.campaign)
        self._changes.publish([change])
        if change.state is State.COMPLETED:
            log_completed(change, cause=Cause.RECONCILE)
        return found

    async def _change(
        self,
        work: Callable[[sa.Connection], Changed],
        actor: str,
        *,
        completes_as: Cause = Cause.SEAL,
        reason: str = "",
    ) -> Changed:
        return await self._finish(self._changed(work, actor, completes_as, reason))

    async def _changed(
        self, work: Callable[[sa.Connection], Changed], actor: str, completes_as: Cause, reason: str
    ) -> Changed:
        changed = await self._store.write(work)
        if changed.transitioned:
            self._publish(changed.campaign, actor, completes_as, reason)
        return changed

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` to its end, also where the caller goes away meanwhile.

        What is written all the same must reach the watchers, the streams and the log.
        """
        task = asyncio.create_task(_outcome(work))
        self._tasks.add(task)  # the loop alone would not hold on to it
        task.add_done_callback(self._tasks.discard)
        done = await asyncio.shield(task)
        if isinstance(done, ServiceError):
            raise done
        return done

    def _publish(self, campaign: sa.Row[Any], actor: str, completes_as: Cause, reason: str) -> None:
        change = change_of(campaign)
        self._changes.publish([change])
        if change.state is State.COMPLETED:
            log_completed(change, cause=completes_as)
            return
        log.info(
            "campaign_state_changed",
            campaign_id=change.key.campaign_id,
            organisation=change.key.organisation,
            state=change.state,
            actor=actor,
            reason=reason,
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


def _examined(connection: sa.Connection, key: CampaignKey, threshold: timedelta) -> Finding:
    campaign = lookup.get(connection, key.organisation, key.campaign_id)
    return repair.examine(connection, campaign, threshold)
