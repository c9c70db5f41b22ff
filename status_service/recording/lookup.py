"""Campaigns by their keys, without a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from status_service.recording import deleted
from status_service.recording.types import CampaignKey
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Sequence


def get(connection: sa.Connection, organisation: str, campaign_id: str) -> sa.Row[Any]:
    """Return a campaign's row.

    Raises:
        CampaignNotFoundError: there is none, or somebody deleted it.
    """
    row = connection.execute(
        sa.select(campaigns).where(
            campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id
        )
    ).one_or_none()
    if row is None:
        key = CampaignKey(organisation, campaign_id)
        raise deleted.refusals(connection, [key])[key]
    return row


def get_many(connection: sa.Connection, keys: Sequence[CampaignKey]) -> Sequence[sa.Row[Any]]:
    """Return the rows of those of ``keys`` that exist, in no order."""
    requested = sa.tuple_(campaigns.c.organisation, campaigns.c.campaign_id).in_(keys)
    return connection.execute(sa.select(campaigns).where(requested)).all()
