"""Have the status service seal a campaign that is only frozen yet, or lost its seal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns import status_gateway
from sender_service.domain import Backoff, Phase
from sender_service.errors import StatusServiceUnavailableError, TransitionNotAllowedError
from sender_service.store import campaigns
from service_runtime.errors import ServiceError

if TYPE_CHECKING:
    from sender_service.campaigns.directory import ActiveCampaign
    from sender_service.delivery.workplace import Workplace

log = structlog.get_logger()

_SOURCE = "start"
#: Between two calls of a status service that does not answer, seconds.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.5, 3.0


async def started(workplace: Workplace, active: ActiveCampaign) -> bool:
    """Seal a frozen campaign, however long the status service does not answer.

    False: it is finished, was cancelled before it began, or this process stops.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
    store = workplace.store
    while not workplace.stopping:
        row = await store.read(
            partial(
                campaigns.get,
                organisation=active.row.organisation,
                campaign_id=active.campaign_id,
            )
        )
        if row.phase != Phase.FROZEN:
            return bool(row.phase == Phase.STARTED)
        try:
            await status_gateway.seal(workplace.client, row, row.schedule_time)
        except TransitionNotAllowedError as error:
            log.warning("campaign_dropped", campaign_id=active.campaign_id, reason=error.message)
            await store.write(
                partial(campaigns.drop_unstarted, campaign=active.number, problem=error.message)
            )
            return False
        except StatusServiceUnavailableError as error:
            if await active.tell(store, _SOURCE, error.message):
                log.warning("start_waits", campaign_id=active.campaign_id, reason=error.message)
            await active.wait(backoff.next_seconds())
        except ServiceError as error:
            await active.tell_stuck(store, _SOURCE, error.message)
        else:
            await active.tell(store, _SOURCE, "")
            await store.write(partial(campaigns.mark_started, campaign=active.number))
            return True
    return False


async def seal_again(workplace: Workplace, active: ActiveCampaign) -> None:
    """Try once to register and seal a campaign that the status service lost.

    The reporter then asks for it again: where this failed, it finds the same loss.
    """
    sealed = False
    try:
        row = await workplace.store.read(
            partial(
                campaigns.get,
                organisation=active.row.organisation,
                campaign_id=active.campaign_id,
            )
        )
        await status_gateway.seal(workplace.client, row, row.schedule_time)
    except ServiceError as error:
        log.warning("seal_again_failed", campaign_id=active.campaign_id, reason=error.message)
    else:
        log.info("campaign_sealed_again", campaign_id=active.campaign_id, total=row.total)
        sealed = True
    workplace.reporter.sealing_ended(active.number, sealed=sealed)
