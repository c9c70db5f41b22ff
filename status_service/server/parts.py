"""What a status service is made of, on an open database; nothing of it runs yet."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from service_runtime import exposure
from service_runtime.call_limits import CallLimits
from service_runtime.database_time import read_clock
from service_runtime.errors import StartupError, StoreUnavailableError
from service_runtime.metrics import ServiceMetrics
from status_service import schema
from status_service.access.delegations import Delegations
from status_service.access.key_access import AccessLimits, KeyAccess
from status_service.campaigns.scans import Scans
from status_service.campaigns.service import CampaignService
from status_service.live.looks import Looks
from status_service.reads.service import CampaignViews
from status_service.recording.meter import Meter
from status_service.recording.notifier import Notifier
from status_service.recording.writer_pool import WriterPool
from status_service.retention.meter import RetentionMeter

if TYPE_CHECKING:
    from service_runtime.access import Access
    from service_runtime.database import Store
    from status_service.settings import StatusSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one status service.

    Attributes:
        status: its settings.
        limits: how long a key is taken for what it was, and how many may be refused.
        peers: how much callers may have open at once.
        store: the database.
        generation: the identity of the database.
        metrics: its figures.
        notifier: announces changes within the process.
        stopping: set when a stop begins.
        writer_pool: stores results.
        service: changes campaigns.
        scans: the last pass over the open campaigns.
        views: reads campaigns.
        looks: looks at campaigns for all who watch them.
        access: knows the keys.
        counted: the same, and counts who was refused.
        delegations: what pages show a sender in place of a key.
        retention_meter: counts what was removed.
    """

    status: StatusSettings
    limits: AccessLimits
    peers: CallLimits
    store: Store
    generation: str
    metrics: ServiceMetrics
    notifier: Notifier
    stopping: asyncio.Event
    writer_pool: WriterPool
    service: CampaignService
    scans: Scans
    views: CampaignViews
    looks: Looks
    access: KeyAccess
    counted: Access
    delegations: Delegations
    retention_meter: RetentionMeter

    @property
    def threshold(self) -> timedelta:
        """After so long without a result a campaign is stalled."""
        return timedelta(seconds=self.status.stall_threshold_seconds)


async def assemble(
    status: StatusSettings, store: Store, limits: AccessLimits, *, tls: bool
) -> Parts:
    """Make the parts of a service.

    Args:
        status: its settings.
        store: the database, migrated.
        limits: of keys.
        tls: whether calls are encrypted.

    Raises:
        StartupError: the keys can't be read, or others than this machine could reach the
            service without one.
        StoreUnavailableError: the database does not answer.
    """
    generation = await store.write(_generation)
    metrics = ServiceMetrics("status")
    meter = Meter(metrics.registry)
    notifier, stopping, scans = Notifier(), asyncio.Event(), Scans()
    threshold = timedelta(seconds=status.stall_threshold_seconds)
    access = KeyAccess(store, limits=limits, any_host=status.allow_without_keys)
    await _guard(status, access, tls=tls)
    return Parts(
        status=status,
        limits=limits,
        peers=CallLimits(status.max_streams, status.max_calls, status.max_sending_streams),
        store=store,
        generation=generation,
        metrics=metrics,
        notifier=notifier,
        stopping=stopping,
        writer_pool=WriterPool(
            store,
            notifier,
            commit_results=status.commit_results,
            queue_frames=status.queue_frames,
            meter=meter,
        ),
        service=CampaignService(
            store,
            notifier,
            stall_threshold=threshold,
            meter=meter,
            largest_total=status.largest_total,
            stopping=stopping,
        ),
        scans=scans,
        views=CampaignViews(store, scans, stall_threshold=threshold),
        looks=Looks(store, notifier, stopping),
        access=access,
        counted=metrics.counting(access),
        delegations=Delegations(store, access),
        retention_meter=RetentionMeter(metrics.registry),
    )


async def _guard(status: StatusSettings, access: KeyAccess, *, tls: bool) -> None:
    """Let nobody reach a service from elsewhere that nothing guards.

    Raises:
        StartupError: somebody could.
    """
    try:
        keys_exist = await access.keys_exist()
    except StoreUnavailableError as error:
        raise StartupError(f"can't read the keys: {error}") from error
    warnings = exposure.check(
        exposure.Exposure(
            table="status",
            addresses=(status.listen, status.http_listen),
            keys_exist=keys_exist,
            tls=tls,
            allow_without_keys=status.allow_without_keys,
            allow_plaintext=status.allow_plaintext,
        )
    )
    for warning in warnings:
        log.warning("reachable_from_elsewhere", address=status.listen, detail=warning)


def _generation(connection: sa.Connection) -> str:
    """Return the identity of this store; give it one if it is new."""
    known = sa.select(schema.store.c.generation)
    found: str | None = connection.execute(known).scalar_one_or_none()
    if found is not None:
        return found
    # Of replicas that begin at once, one gives the name and all take it.
    connection.execute(
        insert(schema.store)
        .values(one=1, generation=str(uuid.uuid4()), create_time=read_clock(connection))
        .on_conflict_do_nothing()
    )
    agreed: str = connection.execute(known).scalar_one()
    return agreed
