"""Which campaigns this process works on: one task for each that is not finished."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from sender_service.campaigns.directory import ActiveCampaign
from sender_service.delivery.activation import seal_again
from sender_service.delivery.campaign_delivery import CampaignDelivery
from sender_service.domain import Backoff
from sender_service.store import campaigns, outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sender_service.delivery.workplace import Workplace

log = structlog.get_logger()

#: What a delivery that was cut short may take to write down what is finished, seconds.
_LET_GO_SECONDS = 5.0
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 30.0


class Supervisor:
    """The campaigns at work.

    What a crash left between two steps of StartCampaign, in a shard, or in the
    journal is picked up here at the next start.

    Args:
        workplace: what they share.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._active: dict[int, ActiveCampaign] = {}

    async def take_up(self) -> None:
        """Take up what is not finished and not at work."""
        for row in await self._workplace.store.read(campaigns.open_campaigns):
            if row.campaign in self._active or self._workplace.stopping:
                continue
            log.info("campaign_taken_up", campaign_id=row.campaign_id, phase=row.phase)
            self.add(row)

    def add(self, row: sa.Row[Any]) -> None:
        """Work on a frozen or started campaign."""
        active = self._active.get(row.campaign)
        if active is None:
            active = self._active[row.campaign] = ActiveCampaign(row)
            self._workplace.begin(self._supervise(active))
        active.wake()

    def find(self, campaign: int) -> ActiveCampaign | None:
        """Return the campaign with this number if it is at work."""
        return self._active.get(campaign)

    def seal_again(self, active: ActiveCampaign) -> None:
        """Have a campaign sealed whose seal the status service lost."""
        if not self._workplace.stopping:
            self._workplace.begin(seal_again(self._workplace, active))

    def finished(self, active: ActiveCampaign) -> None:
        """Note that every outcome of a campaign is acknowledged."""
        self._active.pop(active.number, None)
        self._workplace.begin(self._log_finished(active))

    async def stop(self, grace_seconds: float) -> None:
        """Launch nothing more, wait for what is in flight, write it down.

        What is not finished within ``grace_seconds`` is left in doubt.
        """
        self._workplace.stopping = True
        for active in self._active.values():
            active.wake()
        if not self._workplace.tasks:
            return
        _, late = await asyncio.wait(self._workplace.tasks, timeout=grace_seconds)
        if late:
            log.warning("deliveries_cut_short", campaigns=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=_LET_GO_SECONDS)

    async def _supervise(self, active: ActiveCampaign) -> None:
        """Run a campaign; after a failure, again."""
        backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
        run = CampaignDelivery(self._workplace, active)
        while not self._workplace.stopping:
            try:
                unfinished = await run.run()
            except StoreUnavailableError as error:
                log.warning("delivery_waits", campaign_id=active.campaign_id, error=error.message)
            except Exception:
                log.exception(
                    "delivery_crashed",
                    campaign_id=active.campaign_id,
                    action="it is tried again; report the stack if it comes back",
                )
            else:
                if not unfinished:
                    self._active.pop(active.number, None)
                return
            await active.wait(backoff.next_seconds())

    async def _log_finished(self, active: ActiveCampaign) -> None:
        try:
            counts = await self._workplace.store.read(
                partial(outbox.counts, campaign=active.number)
            )
        except StoreUnavailableError as error:
            log.warning("counts_not_read", campaign_id=active.campaign_id, error=error.message)
            return
        log.info(
            "campaign_delivered",
            campaign_id=active.campaign_id,
            total=active.row.total,
            **counts,
        )
