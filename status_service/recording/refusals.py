"""Why a frame can't be applied to its campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from status_service.errors import (
    CampaignBusyError,
    CampaignNotSealedError,
    ResultsRemovedError,
    SequenceOutOfRangeError,
)
from status_service.recording import deleted, lookup
from status_service.recording.types import key_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import sqlalchemy as sa

    from service_runtime.errors import ServiceError
    from status_service.recording.merge import Accepted
    from status_service.recording.types import CampaignKey, Frame


def refuse(
    connection: sa.Connection,
    by_campaign: Mapping[CampaignKey, Accepted],
    locked: Mapping[CampaignKey, sa.Row[Any]],
    *,
    look_for_busy: bool,
) -> None:
    """Write into the receipts of frames that can't be applied why.

    Args:
        connection: in a transaction that holds ``locked``.
        by_campaign: the frames, each with its receipt.
        locked: the campaigns of them that there are, or that could be locked.
        look_for_busy: whether others hold some of the missing ones locked.
    """
    missing = by_campaign.keys() - locked
    busy = _existing(connection, missing) if look_for_busy else set()
    unknown = deleted.refusals(connection, missing - busy)
    for key, reported in by_campaign.items():
        for frame, receipt in reported:
            if key in locked:
                receipt.error = refusal(locked[key], frame)
            elif key in busy:
                receipt.error = CampaignBusyError(key.campaign_id)
            else:
                receipt.error = unknown[key]


def _existing(connection: sa.Connection, keys: Collection[CampaignKey]) -> set[CampaignKey]:
    """Return those of ``keys`` whose campaign exists."""
    return {key_of(row) for row in lookup.get_many(connection, list(keys))} if keys else set()


def refusal(campaign: sa.Row[Any], frame: Frame) -> ServiceError | None:
    """Return why a frame can't be applied to a campaign as this row has it; None: it can."""
    if not frame.results.size:
        return None  # a subscription, or problems alone
    if campaign.total is None:
        return CampaignNotSealedError(campaign.campaign_id)
    if campaign.results_remove_time is not None:
        return ResultsRemovedError(campaign.campaign_id, remove_time=campaign.results_remove_time)
    for sequence in (min(frame.results.sequence), max(frame.results.sequence)):
        if not 1 <= sequence <= campaign.total:
            return SequenceOutOfRangeError(
                campaign.campaign_id, sequence=sequence, total=campaign.total
            )
    return None
