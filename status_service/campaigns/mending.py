"""What is wrong with open campaigns is found, and repaired where their results prove it.

A person asks for it (RepairCampaigns), the reconcile pass looks at what looks full, and the
audit counts one campaign after the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime.caller import Caller
from service_runtime.errors import StoreBusyError
from status_service.campaigns import open_campaigns, repair
from status_service.campaigns.finishing import counted
from status_service.campaigns.scans import Scan
from status_service.domain import Cause, State
from status_service.errors import CampaignNotFoundError
from status_service.recording.transitions import log_state_change
from status_service.recording.types import CampaignKey, change_of, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from service_runtime.database import Store
    from status_service.campaigns.finishing import Finisher
    from status_service.campaigns.repair import Finding
    from status_service.recording.meter import Meter
    from status_service.recording.notifier import Notifier

log = structlog.get_logger()
#: Open campaigns that one transaction reads.
_LOOKED_AT_ONCE = 200
#: Who repairs what no caller asked for.
_RECONCILE = Caller("", "reconcile")


class Mending:
    """Diagnoses and repairs open campaigns.

    Args:
        store: the database.
        notifier: announces every campaign that changed.
        finisher: ends repairs that were begun.
        stall_threshold: how long without a new result is too long, unless a call
            names another threshold.
        meter: counts changes of state and repairs.
    """

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        finisher: Finisher,
        *,
        stall_threshold: timedelta,
        meter: Meter,
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._finisher = finisher
        self._stall_threshold = stall_threshold
        self._meter = meter

    async def repair(
        self,
        caller: Caller,
        *,
        dry_run: bool,
        stall_threshold: timedelta | None = None,
        campaign_id: str = "",
    ) -> list[Finding]:
        """Diagnose open campaigns and repair what is safe, each in its own transaction.

        Args:
            caller: who asks for those of its organisation.
            dry_run: diagnose only.
            stall_threshold: how long without a new result is too long.
            campaign_id: only this one.

        Returns:
            A finding for each campaign that was open; for ``campaign_id``, in any state.

        Raises:
            CampaignNotFoundError: there is no campaign ``campaign_id``.
        """
        if campaign_id:
            keys = [CampaignKey(caller.organisation, campaign_id)]
        else:
            keys = await self._store.read(
                partial(repair.open_campaigns, organisation=caller.organisation)
            )
        findings = await self._mended(
            keys, caller, stall_threshold or self._stall_threshold, dry_run=dry_run
        )
        if campaign_id and not findings:
            raise CampaignNotFoundError(campaign_id)
        return findings

    async def scan(self, *, dry_run: bool = False) -> Scan:
        """Look at all open campaigns by their rows, and repair those that look full.

        What it costs does not grow with the number of results, except of those.

        Args:
            dry_run: repair nothing.
        """
        found = await self._store.read_long(
            partial(open_campaigns.read, stall_threshold=self._stall_threshold)
        )
        full = [one.key for one in found.noticed if one.is_full]
        return Scan(
            found.by_organisation,
            Counter(one.key.organisation for one in found.noticed if one.needs_attention),
            await self._mended(full, _RECONCILE, self._stall_threshold, dry_run=dry_run),
            found.noticed,
            found.now,
        )

    async def open_campaigns(self) -> list[CampaignKey]:
        """Return the open campaigns of all organisations."""
        return await self._store.read(partial(repair.open_campaigns, organisation=None))

    async def audit(self, key: CampaignKey) -> None:
        """Count the results of one campaign, and repair it if its counters are wrong."""
        await self._mended([key], _RECONCILE, self._stall_threshold)

    async def explained(self, keys: Sequence[CampaignKey]) -> list[Finding]:
        """Return findings of campaigns by their rows alone, for the log."""
        findings: list[Finding] = []
        for start in range(0, len(keys), _LOOKED_AT_ONCE):
            look = partial(
                repair.judge_keys,
                keys=keys[start : start + _LOOKED_AT_ONCE],
                stall_threshold=self._stall_threshold,
            )
            findings += await self._store.read(look)
        return findings

    async def _mended(
        self,
        keys: Sequence[CampaignKey],
        actor: Caller,
        threshold: timedelta,
        *,
        dry_run: bool = False,
    ) -> list[Finding]:
        """Return a finding for each of ``keys`` that exists, and repair what is wrong with it."""
        findings = []
        for start in range(0, len(keys), _LOOKED_AT_ONCE):
            part = keys[start : start + _LOOKED_AT_ONCE]
            for found in await self._store.read_long(
                partial(repair.look, keys=part, stall_threshold=threshold)
            ):
                if found.repaired and not dry_run:
                    key = key_of(found.campaign)
                    findings.append(
                        await self._finisher.finish(self._repair(key, found, threshold, actor))
                    )
                else:
                    findings.append(found)
        return findings

    async def _repair(
        self, key: CampaignKey, examined: Finding, threshold: timedelta, actor: Caller
    ) -> Finding:
        work = partial(repair.repair, key=key, stall_threshold=threshold, actor=actor)
        try:
            found = await counted(
                self._store,
                lambda count: self._store.write(partial(work, count=count or examined.count)),
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
