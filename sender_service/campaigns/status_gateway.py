"""The status service, as campaigns need it: register, seal, and say what failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from closeout.errors import (
    AlreadyExistsError,
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from sender_service.errors import (
    CampaignAlreadyExistsError,
    CampaignSealedError,
    StatusServiceUnavailableError,
    TransitionNotAllowedError,
)
from service_runtime.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import sqlalchemy as sa

    from closeout.aio import StatusClient
    from closeout.status.v1 import status_pb2 as pb

#: Deadline of a call, seconds.
_TIMEOUT_SECONDS = 10.0


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
    client: StatusClient,
    row: sa.Row[Any],
    start_time: datetime | None,
    *,
    start_now: bool = False,
) -> pb.StartCampaignResponse:
    """Seal a frozen campaign's total; sending begins now, or at ``start_time``.

    A campaign the status service does not know (any more) is registered first.

    Raises:
        CampaignSealedError: it is sealed with another total.
        TransitionNotAllowedError: it is CANCELLED.
        StatusServiceUnavailableError: it does not answer.
    """
    try:
        try:
            return await _start(client, row, start_time, start_now=start_now)
        except NotFoundError:
            await client.create_campaign(
                campaign_id=row.campaign_id,
                display_name=row.display_name,
                channel=row.channel,
                request_id=row.request_id or "",
                labels=json.loads(row.labels),
                timeout_seconds=_TIMEOUT_SECONDS,
            )
            return await _start(client, row, start_time, start_now=start_now)
    except ClientError as error:
        raise _translated(error) from error


async def _start(
    client: StatusClient,
    row: sa.Row[Any],
    start_time: datetime | None,
    *,
    start_now: bool = False,
) -> pb.StartCampaignResponse:
    return await client.start_campaign(
        campaign_id=row.campaign_id,
        total=row.total,
        start_time=start_time,
        start_now=start_now,
        timeout_seconds=_TIMEOUT_SECONDS,
    )


def _translated(error: ClientError) -> ServiceError:
    """Return what the sender's own caller is told."""
    if isinstance(error, FailedPreconditionError):
        kind = (
            CampaignSealedError
            if error.reason == CampaignSealedError.reason
            else TransitionNotAllowedError
        )
        return kind(error.message, metadata=error.metadata)
    if isinstance(error, InvalidArgumentError):
        return InvalidRequestError(
            error.message, metadata=error.metadata, fields=error.field_violations
        )
    return StatusServiceUnavailableError(
        f"the status service does not answer: {error.message}",
        metadata={"cause": error.message, "code": error.code.name},
        retry_after_seconds=error.retry_after_seconds or 1.0,
    )
