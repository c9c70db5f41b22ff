"""The status service as campaigns need it: register, seal, and translate what failed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from closeout.errors import (
    AlreadyExistsError,
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from closeout.status.v1 import status_pb2
from closeout.times import to_datetime
from sender_service.campaigns.status_account import is_about_a_key, key_refused, unreachable
from sender_service.domain import Phase, Problem, ProblemKind, State
from sender_service.errors import (
    CampaignAlreadyExistsError,
    CampaignCancelledError,
    CampaignSealedError,
    ServiceKeyError,
    TransitionNotAllowedError,
)
from sender_service.store import campaigns, leases
from service_runtime.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from closeout.aio import StatusClient
    from closeout.status.v1.status_pb2 import Campaign
    from sender_service.campaigns.active_campaign import ActiveCampaign
    from service_runtime.database import Store

#: Why the status service knows a campaign no more, where somebody deleted it.
DELETED = "CAMPAIGN_DELETED"
#: Deadline of a call, seconds.
_TIMEOUT_SECONDS = 10.0
#: A start time that is past for longer is not sent: the status service refuses it after
#: a minute.
_LATE = timedelta(seconds=30)


async def register(
    client: StatusClient,
    *,
    campaign_id: str,
    display_name: str,
    channel: str,
    request_id: str,
    labels: Mapping[str, str],
) -> str:
    """Register a DRAFT, or find it registered; return its id.

    Raises:
        CampaignAlreadyExistsError: the id is taken by other content, or by a
            campaign that was started without this sender.
        StatusServiceUnavailableError: it does not answer.
    """
    try:
        response = await client.create_campaign(
            campaign_id=campaign_id,
            display_name=display_name,
            channel=channel,
            request_id=request_id,
            labels=labels,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
    except AlreadyExistsError as error:
        raise CampaignAlreadyExistsError(campaign_id) from error
    except ClientError as error:
        raise _translated(error) from error
    if response.campaign.sealed:
        raise CampaignAlreadyExistsError(response.campaign.campaign_id)
    return response.campaign.campaign_id


async def seal(
    store: Store,
    client: StatusClient,
    row: sa.Row[Any],
    *,
    start_time: datetime | None,
    start_now: bool,
) -> bool:
    """Seal a frozen campaign's total, and store what the status service answered.

    ``start_time`` and ``start_now`` mean what they mean for StartCampaign of the status
    service. A campaign that it does not know, any more, is registered first. Returns
    whether this call scheduled or started the campaign.

    Raises:
        CampaignSealedError: it is sealed with another total.
        CampaignCancelledError: it is CANCELLED; one that was not sealed is dropped.
        TransitionNotAllowedError: it has started, and not at ``start_time``.
        InvalidRequestError: ``start_time`` is refused.
        StatusServiceUnavailableError: it does not answer.
        StoreUnavailableError: the store does not answer.
    """
    start = partial(
        client.start_campaign,
        campaign_id=row.campaign_id,
        total=row.total,
        start_time=start_time,
        start_now=start_now,
        timeout_seconds=_TIMEOUT_SECONDS,
    )
    try:
        try:
            response = await start()
        except NotFoundError as error:
            if error.reason == DELETED:
                raise await _refused(store, row, _deleted(error)) from error
            await client.create_campaign(
                campaign_id=row.campaign_id,
                display_name=row.display_name,
                channel=row.channel,
                request_id=row.request_id or "",
                labels=json.loads(row.labels),
                timeout_seconds=_TIMEOUT_SECONDS,
            )
            response = await start()
    except ClientError as error:
        raise await _refused(store, row, _translated(error)) from error
    await store.write(
        partial(
            campaigns.mark_started,
            campaign=row.campaign,
            schedule_time=_schedule_time(response.campaign),
        )
    )
    return response.transitioned


async def seal_as_requested(
    store: Store,
    client: StatusClient,
    active: ActiveCampaign,
    *,
    start_time: datetime | None,
    start_now: bool,
) -> bool:
    """Seal a campaign at work as its caller requests; the caller holds ``active.sealing``.

    One that is FROZEN has its time in the store already. Returns whether this call
    scheduled or started the campaign.

    Raises:
        ServiceError: as :func:`seal`.
    """
    row = await _read(store, active)
    if row.phase == Phase.FROZEN and not start_now:
        return await seal_for_its_time(store, client, row)
    return await seal(store, client, row, start_time=start_time, start_now=start_now)


async def check_started(client: StatusClient, row: sa.Row[Any], start_time: datetime) -> None:
    """Check that a campaign that has ended was started with ``start_time``.

    Raises:
        ServiceError: it was not, or the status service does not answer.
    """
    try:
        await client.start_campaign(
            campaign_id=row.campaign_id,
            total=row.total,
            start_time=start_time,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
    except ClientError as error:
        raise _translated(error) from error


async def seal_frozen(store: Store, client: StatusClient, active: ActiveCampaign) -> Phase:
    """Seal a campaign at work if it is FROZEN still; return its phase afterwards.

    Raises:
        ServiceError: as :func:`seal`.
    """
    async with active.sealing:
        row = await _read(store, active)
        if row.phase != Phase.FROZEN:
            return Phase(row.phase)
        await seal_for_its_time(store, client, row)
    return Phase.STARTED


async def seal_again(store: Store, client: StatusClient, active: ActiveCampaign) -> None:
    """Seal a campaign whose seal the status service lost, for the time it was scheduled for.

    Raises:
        ServiceError: as :func:`seal`.
    """
    async with active.sealing:
        await seal_for_its_time(store, client, await _read(store, active))


async def seal_for_its_time(store: Store, client: StatusClient, row: sa.Row[Any]) -> bool:
    """Seal a campaign for the time it was scheduled for last.

    Where that time is past it starts at once, unless the status service has it SCHEDULED
    for another one, which somebody gave it there. One whose sending had begun starts at
    once in any case. Returns whether this call scheduled or started the campaign.

    Raises:
        ServiceError: as :func:`seal`.
    """
    start_time = row.schedule_time
    if start_time is not None:
        if await store.read(partial(leases.was_claimed, campaign=row.campaign)):
            return await seal(store, client, row, start_time=None, start_now=True)
        if start_time < datetime.now(UTC) - _LATE:
            start_time = None
    try:
        return await seal(store, client, row, start_time=start_time, start_now=False)
    except CampaignCancelledError:
        raise
    except TransitionNotAllowedError:
        if start_time is None:
            raise
        # A call whose answer was lost has started it at another time.
        return await seal(store, client, row, start_time=None, start_now=False)


async def drop_cancelled(store: Store, client: StatusClient, row: sa.Row[Any]) -> bool:
    """End a campaign that was never started if the status service has it CANCELLED.

    Returns whether it has. Nobody else looks: what was not started has no stream.

    Raises:
        StatusServiceUnavailableError: it does not answer.
        StoreUnavailableError: the store does not answer.
    """
    try:
        # A report without results: the sender's key may report, and need not read.
        receipt = await client.report(
            (), campaign_id=row.campaign_id, timeout_seconds=_TIMEOUT_SECONDS
        )
    except NotFoundError as error:
        if error.reason != DELETED:
            return False
        await _drop(store, row, error.message)
        return True
    except ClientError as error:
        raise _translated(error) from error
    if receipt.campaign_state.state != status_pb2.Campaign.CANCELLED:
        return False
    await _drop(store, row, "the status service has it CANCELLED")
    return True


async def _read(store: Store, active: ActiveCampaign) -> sa.Row[Any]:
    return await store.read(
        partial(campaigns.get, organisation=active.organisation, campaign_id=active.campaign_id)
    )


async def _refused(store: Store, row: sa.Row[Any], error: ServiceError) -> ServiceError:
    """Drop a campaign that was cancelled before it was sealed; return the error to raise."""
    if isinstance(error, CampaignCancelledError):
        await _drop(store, row, error.message)
    return error


async def _drop(store: Store, row: sa.Row[Any], detail: str) -> None:
    problem = Problem(
        ProblemKind.START_REFUSED,
        "the campaign was cancelled before it was started",
        detail=detail,
    )
    await store.write(partial(campaigns.drop_unstarted, campaign=row.campaign, problem=problem))


def _deleted(error: NotFoundError) -> CampaignCancelledError:
    """Return that a campaign is over, since somebody deleted it at the status service."""
    return CampaignCancelledError(error.message, metadata=error.metadata)


def _schedule_time(campaign: Campaign) -> datetime | None:
    """Return the time that a campaign waits for; None: it does not wait."""
    if campaign.state != status_pb2.Campaign.SCHEDULED:
        return None
    return to_datetime(campaign.schedule_time)


def _translated(error: ClientError) -> ServiceError:
    """Return the error that the sender's caller gets."""
    if isinstance(error, FailedPreconditionError):
        if error.reason == CampaignSealedError.reason:
            return CampaignSealedError(error.message, metadata=error.metadata)
        is_cancelled = error.metadata.get("state") == State.CANCELLED
        kind = CampaignCancelledError if is_cancelled else TransitionNotAllowedError
        return kind(error.message, metadata=error.metadata)
    if isinstance(error, InvalidArgumentError):
        return InvalidRequestError(
            error.message, metadata=error.metadata, fields=error.field_violations
        )
    return ServiceKeyError(key_refused(error)) if is_about_a_key(error) else unreachable(error)
