"""WatchCampaign: snapshots of one campaign, at its changes, until it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from service_runtime.errors import ShuttingDownError
from status_service.domain import State
from status_service.errors import StoreWentBackError
from status_service.recording.types import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from status_service.reads.service import CampaignViews
    from status_service.recording.notifier import Notifier
    from status_service.recording.types import Change

#: At most one snapshot in this time, seconds; the last one, of a campaign that ended,
#: does not wait for it.
_BETWEEN_SNAPSHOTS = 0.1
#: A change that was not announced to this process, such as one by hand in the database,
#: is seen after this time, seconds.
_POLL = 1.0


async def watch(
    views: CampaignViews,
    notifier: Notifier,
    caller: Caller,
    campaign_id: str,
    stopping: asyncio.Event,
) -> AsyncIterator[sa.Row[Any]]:
    """Yield the campaign's row as it is, then whenever it changed; end with a terminal state.

    A snapshot is read only when the one before was taken, so a slow reader skips
    some and holds up nobody. Intermediate snapshots are spaced out; the last one comes
    at once. Revisions never go down.

    Raises:
        CampaignNotFoundError: there is none.
        ShuttingDownError: the service stops.
        StoreWentBackError: the database lost the revision that was yielded last.
    """
    campaign = await views.get(caller, campaign_id)
    changed = asyncio.Event()
    urgent = asyncio.Event()  # it ended, or the service stops
    went_back_to: list[int] = []  # since the snapshot before

    def on_change(change: Change) -> None:
        changed.set()
        if change.went_back_to is not None:
            went_back_to.append(change.went_back_to)
        if change.state.is_terminal:
            urgent.set()

    def on_stop(_: asyncio.Task[Any]) -> None:
        changed.set()
        urgent.set()

    stop = asyncio.create_task(stopping.wait())
    stop.add_done_callback(on_stop)
    try:
        with notifier.listening(key_of(campaign), on_change):
            campaign = await views.get(caller, campaign_id)
            notifier.note(key_of(campaign), campaign.revision)
            yield campaign
            while not State(campaign.state).is_terminal:
                await _within(_BETWEEN_SNAPSHOTS, urgent)
                await _within(_POLL, changed)
                if stopping.is_set():
                    raise ShuttingDownError("the service stops; watch again elsewhere or later")
                changed.clear()
                urgent.clear()
                seen = campaign
                campaign = await views.get(caller, campaign_id)
                found = min([campaign.revision, *went_back_to])
                if found < seen.revision:
                    raise StoreWentBackError(campaign_id, announced=seen.revision, current=found)
                went_back_to.clear()
                notifier.note(key_of(campaign), campaign.revision)
                # The whole row: a change by hand need not have moved its revision.
                if campaign != seen:
                    yield campaign
    finally:
        stop.cancel()


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for ``event``, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
