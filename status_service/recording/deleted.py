"""Campaigns that were deleted: their ids are known for ever, and never given again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from status_service.errors import CampaignDeletedError, CampaignNotFoundError, ResultsRemovedError
from status_service.recording.types import CampaignKey
from status_service.schema import deleted_campaigns

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_COLUMNS = deleted_campaigns.c


def find(connection: sa.Connection, key: CampaignKey) -> sa.Row[Any] | None:
    """Return what is known of a deleted campaign; None: there was none with this id."""
    return connection.execute(
        sa.select(deleted_campaigns).where(
            _COLUMNS.organisation == key.organisation, _COLUMNS.campaign_id == key.campaign_id
        )
    ).one_or_none()


def refusals(
    connection: sa.Connection, keys: Collection[CampaignKey]
) -> dict[CampaignKey, CampaignNotFoundError]:
    """Return for each of ``keys``, none of which exists, how a call for it is refused."""
    found: dict[CampaignKey, CampaignNotFoundError] = {
        key: CampaignNotFoundError(key.campaign_id) for key in keys
    }
    if not keys:
        return found
    same = sa.tuple_(_COLUMNS.organisation, _COLUMNS.campaign_id).in_(list(keys))
    for row in connection.execute(sa.select(deleted_campaigns).where(same)):
        found[CampaignKey(row.organisation, row.campaign_id)] = refusal(row)
    return found


def refusal(row: sa.Row[Any]) -> CampaignDeletedError:
    """Return how a call for a deleted campaign is refused."""
    return CampaignDeletedError(row.campaign_id, delete_time=row.delete_time, actor=row.actor)


def check_results_kept(campaign: sa.Row[Any]) -> None:
    """Check that the results of a campaign are kept.

    Raises:
        ResultsRemovedError: they are not, or are being removed.
    """
    if campaign.results_remove_time is not None:
        raise ResultsRemovedError(campaign.campaign_id, remove_time=campaign.results_remove_time)
