"""Conditional writes: a campaign is changed at the revision that the caller knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from status_service.errors import RevisionMismatchError
from status_service.recording.ledger import lock_one
from status_service.recording.types import CampaignKey

if TYPE_CHECKING:
    import sqlalchemy as sa

    from service_runtime.caller import Caller


def lock_at(
    connection: sa.Connection, caller: Caller, campaign_id: str, revision: int
) -> sa.Row[Any]:
    """Lock a campaign that has a revision, and return its row.

    Raises:
        CampaignNotFoundError: there is none.
        RevisionMismatchError: it changed since the caller read it.
    """
    campaign = lock_one(connection, CampaignKey(caller.organisation, campaign_id))
    check_revision(campaign, revision)
    return campaign


def check_revision(campaign: sa.Row[Any], revision: int) -> None:
    """Check that a campaign has a revision; 0: any.

    Raises:
        RevisionMismatchError: it has another one.
    """
    if revision not in {0, campaign.revision}:
        raise RevisionMismatchError(campaign.campaign_id, current=campaign.revision, given=revision)
