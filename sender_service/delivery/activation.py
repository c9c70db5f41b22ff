"""Have the status service seal a campaign that is only frozen yet, or lost its seal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns import status_gateway
from sender_service.campaigns.directory import Resealed, Source
from sender_service.campaigns.status_problems import KEY_REFUSED, KEY_SETTING
from sender_service.domain import MAX_DETAIL, Backoff, Phase, Problem, ProblemKind
from sender_service.errors import (
    CampaignCancelledError,
    ServiceKeyError,
    StatusServiceUnavailableError,
)
from service_runtime.errors import ServiceError, StoreUnavailableError

if TYPE_CHECKING:
    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.campaigns.status_account import StatusAccount
    from service_runtime.database import Store

log = structlog.get_logger()

#: Between two calls of a status service that does not answer, seconds.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.5, 3.0
#: How often a campaign that only a person can help is tried again, seconds.
STUCK_SECONDS = 60.0


async def activate(
    store: Store, account: StatusAccount, directory: Directory, active: ActiveCampaign
) -> bool:
    """Seal a frozen campaign, retrying until the status service answers.

    False: it is finished, was cancelled before it began, or this process stops.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
    while not directory.stopping:
        try:
            client = account.client(active.organisation)
            phase = await status_gateway.seal_frozen(store, client, active)
        except CampaignCancelledError as error:
            log.warning(
                "campaign_cancelled_before_start",
                campaign_id=active.campaign_id,
                reason=error.message,
            )
            return False
        except StatusServiceUnavailableError as error:
            problem = _not_started(error)
            if await directory.set_problem(active, Source.START, problem):
                log.warning("start_retrying", campaign_id=active.campaign_id, reason=error.message)
            await active.wait(backoff.next_seconds())
        except StoreUnavailableError:
            raise
        except ServiceError as error:
            problem = Problem(
                ProblemKind.START_REFUSED,
                "the status service refuses to start the campaign",
                detail=error.message[:MAX_DETAIL],
                needs_attention=True,
            )
            await show_stuck(directory, active, Source.START, problem)
        else:
            await directory.set_problem(active, Source.START, None)
            return phase is Phase.STARTED
    return False


def _not_started(error: StatusServiceUnavailableError) -> Problem:
    """Return why a campaign is not started, which is tried again by itself."""
    detail = error.message[:MAX_DETAIL]
    if isinstance(error, ServiceKeyError):
        return Problem(
            ProblemKind.STATUS_SERVICE_REFUSES,
            KEY_REFUSED,
            detail=detail,
            setting=KEY_SETTING,
            needs_attention=True,
        )
    return Problem(
        ProblemKind.STATUS_SERVICE_UNREACHABLE,
        "the status service does not answer, so the campaign is not started",
        detail=detail,
    )


async def show_stuck(
    directory: Directory, active: ActiveCampaign, source: Source, problem: Problem
) -> None:
    """Show that only a person can help, log it once, and wait a while.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    if await directory.set_problem(active, source, problem):
        # Who may create campaigns can cause the others at will.
        is_operators = problem.kind is ProblemKind.CHANNEL_UNAVAILABLE
        (log.error if is_operators else log.warning)(
            "campaign_stuck",
            campaign_id=active.campaign_id,
            reason=f"{problem.summary}: {problem.detail}",
            action="needs manual intervention; it goes on by itself afterwards",
        )
    await active.wait(STUCK_SECONDS)


async def seal_again(
    store: Store, account: StatusAccount, directory: Directory, active: ActiveCampaign
) -> None:
    """Try once to register and seal a campaign that the status service lost.

    Reporting then asks for its state: where this failed, that shows the same loss.
    """
    sealed = False
    try:
        client = account.client(active.organisation)
        await status_gateway.seal_again(store, client, active)
        sealed = True
        log.info("campaign_sealed_again", campaign_id=active.campaign_id, total=active.row.total)
    except ServiceError as error:
        log.warning("seal_again_failed", campaign_id=active.campaign_id, reason=error.message)
    finally:
        directory.announce(Resealed(active.number, sealed=sealed))
