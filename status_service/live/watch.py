"""WatchCampaign: snapshots of one campaign, at its changes, until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from status_service.domain import State
from status_service.errors import StoreWentBackError
from status_service.recording.types import CampaignKey

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from status_service.live.looks import Looks


async def watch(
    looks: Looks, caller: Caller, campaign_id: str
) -> AsyncGenerator[sa.Row[Any], None]:
    """Yield the campaign's row as it is, then whenever it changed; end with a terminal state.

    A slow reader skips some and holds up nobody. Counters are spaced out; a change of
    state comes at once. Revisions never go down.

    Raises:
        CampaignNotFoundError: there is none.
        ShuttingDownError: the service stops.
        StoreUnavailableError: the database does not answer.
        StoreWentBackError: the database lost the revision that was yielded last.
    """
    with looks.watching(CampaignKey(caller.organisation, campaign_id)) as watcher:
        seen = None
        while seen is None or not State(seen.state).is_terminal:
            campaign, lowest = await watcher.take()
            before = (seen or campaign).revision
            if lowest < before:
                raise StoreWentBackError(campaign_id, announced=before, current=lowest)
            # The whole row: a change by hand need not have moved its revision.
            if campaign != seen:
                seen = campaign
                yield campaign
