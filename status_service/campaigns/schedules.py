"""The passes that run by themselves: check and audit open campaigns, start scheduled ones."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from status_service.campaigns.alarms import Alarms
    from status_service.campaigns.mending import Mending
    from status_service.campaigns.scans import Scans
    from status_service.campaigns.service import CampaignService
    from status_service.domain import Diagnosis
    from status_service.recording.types import CampaignKey

log = structlog.get_logger()

#: The least time between two audits, seconds, and as many times as long as the last one took.
_AUDIT_INTERVAL, _AUDIT_REST = 1.0, 50
#: How often scheduled campaigns are checked, seconds.
_SCHEDULE_INTERVAL = 1.0


async def reconcile(
    mending: Mending, scans: Scans, alarms: Alarms, *, interval_seconds: float
) -> None:
    """Check all open campaigns now and then every ``interval_seconds``, for ever.

    The pass finds nothing to repair unless there is a defect or somebody changed the
    database by hand; what it repairs is logged as an error. A campaign that needs a person
    is logged when that begins, not at every pass, and announced by an event.
    """
    known: dict[CampaignKey, Diagnosis] = {}
    while True:
        try:
            scan = await mending.scan()
            await alarms.announce(scan.noticed)
            needy = {one.key: one.diagnosis for one in scan.noticed if one.needs_attention}
            new = [key for key, diagnosis in needy.items() if known.get(key) != diagnosis]
            explained = await mending.explained(new)
        except StoreUnavailableError as error:
            log.warning("reconcile_postponed", error=error.message)
        else:
            scans.note(scan)
            for found in explained:
                if found.needs_attention:
                    log.warning(
                        "campaign_needs_attention",
                        campaign_id=found.campaign.campaign_id,
                        organisation=found.campaign.organisation,
                        diagnosis=found.after,
                        explanation=found.explanation,
                        action=found.action,
                    )
            known = needy
            log.debug("reconciled", open=sum(scan.open.values()), need_attention=len(needy))
        await asyncio.sleep(interval_seconds)


async def audit(
    mending: Mending, take: Callable[[], Awaitable[bool]], *, interval_seconds: float
) -> None:
    """Count the results of one open campaign after the other, for ever.

    It finds what the pass does not see, counters that were changed by hand, and takes a
    fiftieth of a processor at most.

    Args:
        mending: audits a campaign.
        take: takes the duty to do this, or keeps it; False: another instance has it.
        interval_seconds: the wait after all were audited.
    """
    while True:
        audited = 0
        try:
            for key in await mending.open_campaigns():
                if not await take():
                    break
                begin = time.monotonic()
                await mending.audit(key)
                audited += 1
                seconds = time.monotonic() - begin
                await asyncio.sleep(max(_AUDIT_INTERVAL, _AUDIT_REST * seconds))
            log.debug("audited", campaigns=audited)
        except StoreUnavailableError as error:
            log.warning("audit_postponed", error=error.message)
        await asyncio.sleep(interval_seconds)


async def start_scheduled(service: CampaignService) -> None:
    """Start campaigns when they are due, for ever."""
    while True:
        try:
            await service.start_due()
        except StoreUnavailableError as error:
            log.warning("schedule_postponed", error=error.message)
        await asyncio.sleep(_SCHEDULE_INTERVAL)
