"""Which campaigns this process works on: one task for each that is not finished."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from sender_service.campaigns.directory import Decision
from sender_service.delivery.activation import activate, seal_again
from sender_service.delivery.campaign_delivery import CampaignDelivery
from sender_service.delivery.clock import Clock
from sender_service.delivery.contents import CompiledContents
from sender_service.delivery.fair_scheduler import FairScheduler
from sender_service.delivery.provider import Providers
from sender_service.domain import Backoff
from sender_service.errors import LeaseLostError
from sender_service.store import campaigns, outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.campaigns.status_account import StatusAccount
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.delivery.shared_provider import SharedProvider
    from sender_service.settings import SenderSettings
    from service_runtime.database import Store

log = structlog.get_logger()

#: How long a delivery that is cancelled may take to write down what is finished, seconds.
_LET_GO_SECONDS = 0.75
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 30.0


class Supervisor:
    """Works on the campaigns of the directory, and acts on what reporting decides.

    What a crash left between two steps of StartCampaign, in a shard, or in the outbox is
    resumed at the next start.

    Args:
        store: the sender's.
        channels: where messages go.
        account: reaches the status service.
        directory: the campaigns at work.
        settings: of the sender.
        instance: the name of this process, which owns the leases.
        clock: counts the waits for providers.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        account: StatusAccount,
        directory: Directory,
        settings: SenderSettings,
        *,
        instance: str,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._channels = channels
        self._account = account
        self._directory = directory
        self._settings = settings
        self._instance = instance
        self._providers = Providers(store, directory, clock or Clock())
        self._contents = CompiledContents(store, channels.campaigns_workers)
        self._schedulers: dict[str, FairScheduler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: Whether a look at all open campaigns is about to begin.
        self._look_is_due = False

    @property
    def shared_providers(self) -> list[SharedProvider]:
        """The providers that were used so far."""
        return self._providers.shared

    async def resume(self) -> None:
        """Work on what the store has as open and nobody works on.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        for row in await self._store.read(campaigns.open_campaigns):
            if row.campaign not in self._directory:
                log.info(
                    "campaign_resumed",
                    campaign_id=row.campaign_id,
                    organisation=row.organisation,
                    phase=row.phase,
                )
                self._directory.add(row)

    async def run(self) -> None:
        """Act on decisions until cancelled."""
        while True:
            decision, active = await self._directory.decisions.get()
            if decision is Decision.FINISHED and active is not None:
                self._directory.remove(active)
                self._begin(self._log_finished(active))
            elif self._directory.stopping:
                continue
            elif active is None:
                if not self._look_is_due:  # one look serves all organisations that asked
                    self._look_is_due = True
                    self._begin(self._resume_retrying())
            elif decision is Decision.DELIVER:
                self._begin(self._supervise(active))
            else:
                self._begin(seal_again(self._store, self._account, self._directory, active))

    async def stop(self, grace_seconds: float) -> None:
        """Dispatch nothing more, wait for what is in flight, write it down.

        Messages that are not handed over yet are requeued at once. A provider that has a
        message and does not answer within ``grace_seconds`` leaves it in doubt.
        """
        self._directory.stop()
        await self._providers.close()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
        if late:
            log.warning("shutdown_grace_exceeded", campaigns=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=_LET_GO_SECONDS)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else; a stop waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("delivery_task_failed", exc_info=task.exception())  # a defect

    def _scheduler(self, channel: str) -> FairScheduler:
        if channel not in self._schedulers:
            self._schedulers[channel] = FairScheduler(self._settings.concurrent_campaigns)
        return self._schedulers[channel]

    async def _supervise(self, active: ActiveCampaign) -> None:
        """Deliver a campaign; after a failure, again."""
        # In every line of the log from here on: its id alone does not name a campaign.
        structlog.contextvars.bind_contextvars(organisation=active.organisation)
        backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
        delivery = CampaignDelivery(
            self._store,
            self._channels,
            self._directory,
            active,
            self._settings,
            contents=self._contents,
            providers=self._providers,
            scheduler=self._scheduler(active.row.channel),
            instance=self._instance,
        )
        while not self._directory.stopping:
            try:
                if not await activate(self._store, self._account, self._directory, active):
                    if not self._directory.stopping:
                        self._directory.remove(active)
                    return
                await delivery.run()
            except (StoreUnavailableError, LeaseLostError) as error:
                log.warning(
                    "delivery_retrying", campaign_id=active.campaign_id, error=error.message
                )
            except Exception:
                log.exception(
                    "delivery_crashed",
                    campaign_id=active.campaign_id,
                    action="it is tried again; report the stack if it comes back",
                )
            else:
                return
            await active.wait(backoff.next_seconds())

    async def _resume_retrying(self) -> None:
        backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
        while not self._directory.stopping:
            self._look_is_due = False
            try:
                await self.resume()
            except StoreUnavailableError:  # logged by the store
                await asyncio.sleep(backoff.next_seconds())
            else:
                return

    async def _log_finished(self, active: ActiveCampaign) -> None:
        try:
            counts = await self._store.read(partial(outbox.counts, campaign=active.number))
        except StoreUnavailableError as error:
            log.warning("summary_unavailable", campaign_id=active.campaign_id, error=error.message)
            return
        log.info(
            "campaign_delivered",
            campaign_id=active.campaign_id,
            organisation=active.organisation,
            total=active.row.total,
            **counts,
        )
