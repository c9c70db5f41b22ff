"""What a status service does beside the calls: writing, watching, mending, announcing."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from service_runtime.background import background
from status_service.campaigns.alarms import Alarms
from status_service.campaigns.schedules import audit, reconcile, start_scheduled
from status_service.events.courier import courier
from status_service.events.publisher import Publisher
from status_service.live.database_listener import follow
from status_service.recording import duty
from status_service.recording.sampler import Sampler
from status_service.retention.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service_runtime.database import Store
    from status_service.server.parts import Parts


@asynccontextmanager
async def working(parts: Parts) -> AsyncIterator[None]:
    """Do all of it while the block runs; see :func:`background` for what fails."""
    status, store, threshold = parts.status, parts.store, parts.threshold
    async with AsyncExitStack() as stack:
        event_courier = await stack.enter_async_context(
            courier(allow_private=status.webhooks_allow_private)
        )
        for work in (
            parts.writer_pool.run(),
            follow(store, parts.notifier),
            parts.looks.run(),
            reconcile(
                parts.service.mending,
                parts.scans,
                Alarms(store, stall_threshold=threshold),
                interval_seconds=status.reconcile_interval_seconds,
            ),
            audit(
                parts.service.mending,
                _duty_of_audits(store),
                interval_seconds=status.reconcile_interval_seconds,
            ),
            Publisher(store, event_courier, stall_threshold=threshold).run(),
            Sweeper(store, status.expiry, parts.retention_meter).run(),
            start_scheduled(parts.service),
            Sampler(store, parts.notifier).run(),
            parts.access.record_uses(),
            parts.delegations.sweep(),
        ):
            await stack.enter_async_context(background(work))
        yield


def _duty_of_audits(store: Store) -> Callable[[], Awaitable[bool]]:
    """Return what takes the duty to audit campaigns for this process, or keeps it."""
    take = partial(duty.take, duty="audit", holder=secrets.token_hex(16))

    async def taken() -> bool:
        return await store.write(take) is not None

    return taken
