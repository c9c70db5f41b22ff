"""The passes that run by themselves: check open campaigns, start scheduled ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from status_service.campaigns.scans import Scans
    from status_service.campaigns.service import CampaignService
    from status_service.domain import Diagnosis

log = structlog.get_logger()

#: How often scheduled campaigns are checked, seconds.
_SCHEDULE_INTERVAL = 1.0


async def reconcile(service: CampaignService, scans: Scans, *, interval_seconds: float) -> None:
    """Check all open campaigns now and then every ``interval_seconds``, for ever.

    The pass finds nothing unless there is a defect or somebody changed the database
    by hand; what it repairs is logged as an error. A campaign that needs a person
    is logged when that begins, not at every pass.
    """
    known: dict[tuple[str, str], Diagnosis] = {}
    while True:
        try:
            findings = await service.repair(None)
        except StoreUnavailableError as error:
            log.warning("reconcile_postponed", error=error.message)
        else:
            scans.note(findings)
            needy = {
                (found.campaign.organisation, found.campaign.campaign_id): found.after
                for found in findings
                if found.needs_attention and found.after is not None
            }
            for found in findings:
                key = (found.campaign.organisation, found.campaign.campaign_id)
                if key in needy and known.get(key) != needy[key]:
                    log.warning(
                        "campaign_needs_attention",
                        campaign_id=found.campaign.campaign_id,
                        organisation=found.campaign.organisation,
                        diagnosis=found.after,
                        explanation=found.explanation,
                        action=found.action,
                    )
            known = needy
            log.debug("reconciled", open=len(findings), need_attention=len(needy))
        await asyncio.sleep(interval_seconds)


async def start_scheduled(service: CampaignService) -> None:
    """Start campaigns when they are due, for ever."""
    while True:
        try:
            await service.start_due()
        except StoreUnavailableError as error:
            log.warning("schedule_postponed", error=error.message)
        await asyncio.sleep(_SCHEDULE_INTERVAL)
