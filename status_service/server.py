"""Put the status service together, serve, and take it apart in order."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from closeout.status.v1 import (
    access_pb2,
    access_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
)
from service_runtime import exposure
from service_runtime.background import background, follow_store
from service_runtime.call_limits import CallLimits
from service_runtime.database import Store, read_clock
from service_runtime.errors import StartupError, StoreUnavailableError
from service_runtime.grace import Grace
from service_runtime.grpc_server import Server
from service_runtime.http_app import application
from service_runtime.http_server import optional_http
from service_runtime.http_spans import observed
from service_runtime.metrics import ServiceMetrics
from service_runtime.operations_routes import health_routes, metrics_route
from service_runtime.readiness import Readiness
from service_runtime.tls import ServerTls
from status_service import schema
from status_service.access.delegations import Delegations
from status_service.access.key_access import AccessLimits, KeyAccess
from status_service.access.key_service import KeyService
from status_service.access.scopes import SCOPES
from status_service.campaigns.alarms import Alarms
from status_service.campaigns.scans import Scans
from status_service.campaigns.schedules import audit, reconcile, start_scheduled
from status_service.campaigns.service import CampaignService
from status_service.dashboard import sender_link
from status_service.dashboard.gate import lost_page
from status_service.dashboard.opening import open_board
from status_service.dashboard.routes import routes as dashboard_routes
from status_service.events.courier import courier
from status_service.events.publisher import Publisher
from status_service.events.service import EventService
from status_service.grpc_api.access_servicer import AccessServicer
from status_service.grpc_api.event_servicer import EventServicer
from status_service.grpc_api.servicer import StatusServicer
from status_service.http_api.openapi import openapi_routes
from status_service.http_api.rules import packaged_rules
from status_service.http_api.transcoder import transcoded
from status_service.live.campaign_gauges import CampaignGauges
from status_service.live.database_listener import follow
from status_service.live.looks import Looks
from status_service.migrations import MIGRATIONS
from status_service.reads.service import CampaignViews
from status_service.recording import duty
from status_service.recording.batch import BatchRecorder
from status_service.recording.meter import Meter
from status_service.recording.notifier import Notifier
from status_service.recording.sampler import Sampler
from status_service.recording.writer_pool import WriterPool
from status_service.retention.meter import RetentionMeter
from status_service.retention.service import RetentionService
from status_service.retention.sweeper import Sweeper
from status_service.settings import HOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import grpc

    from status_service.settings import Settings, StatusSettings

log = structlog.get_logger()

#: The full names of the services of its contract.
SERVICES = (
    status_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name,
    access_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name,
    events_pb2.DESCRIPTOR.services_by_name["EventService"].full_name,
)
_DEFAULT_LIMITS = AccessLimits()


@dataclass(frozen=True, slots=True)
class Running:
    """A status service that serves.

    Attributes:
        address: HOST:PORT it listens on.
        port: the port of it.
        http_address: HOST:PORT where HTTP listens; empty: nowhere.
        http_scheme: what its URLs begin with: ``http``, or ``https`` with TLS.
        readiness: whether it can do its work now.
    """

    address: str
    port: int
    http_address: str
    http_scheme: str
    readiness: Readiness


@asynccontextmanager
async def running(
    settings: Settings, *, limits: AccessLimits = _DEFAULT_LIMITS
) -> AsyncIterator[Running]:
    """Serve while the block runs.

    At the end: health says NOT_SERVING, streams end with SHUTTING_DOWN, running calls
    get their grace, frames already taken are written, the store is closed.

    Args:
        settings: all of them.
        limits: how long a key is taken for what it was, and how many may be refused.

    Raises:
        StartupError: the database, the address or a file of TLS can't be used, or others than
            this machine could reach it without a key.
    """
    status = settings.status
    peers = CallLimits(status.max_streams, status.max_calls, status.max_sending_streams)
    grace = Grace(status.grace_seconds)
    tls = await ServerTls.load("status", status)
    # In a thread: a migration may take minutes, and signals are heard meanwhile.
    store = await asyncio.to_thread(Store, status.database_url, MIGRATIONS, holder=HOLDER)
    try:
        generation = await store.write(_generation)
        metrics = ServiceMetrics("status")
        meter = Meter(metrics.registry)
        notifier, stopping = Notifier(), asyncio.Event()
        writer_pool = WriterPool(
            store,
            notifier,
            commit_results=status.commit_results,
            queue_frames=status.queue_frames,
            meter=meter,
        )
        threshold = timedelta(seconds=status.stall_threshold_seconds)
        service = CampaignService(
            store,
            notifier,
            stall_threshold=threshold,
            meter=meter,
            largest_total=status.largest_total,
            stopping=stopping,
        )
        scans = Scans()
        views = CampaignViews(store, scans, stall_threshold=threshold)
        access = await _guarded(
            status,
            KeyAccess(store, limits=limits, any_host=status.allow_without_keys),
            tls=tls.on,
        )
        delegations = Delegations(store, access)
        retention_meter = RetentionMeter(metrics.registry)
        counted = metrics.counting(access)
        servicer = StatusServicer(
            service,
            views,
            writer_pool,
            BatchRecorder(store, writer_pool, stopping),
            notifier,
            looks=Looks(store, notifier, stopping),
            retention=RetentionService(store, retention_meter),
            generation=generation,
            stopping=stopping,
        )
        access_servicer = AccessServicer(access, KeyService(store, access), delegations)
        event_servicer = EventServicer(
            EventService(
                store, stall_threshold=threshold, allow_private=status.webhooks_allow_private
            )
        )

        def register(grpc_server: grpc.aio.Server) -> None:
            status_pb2_grpc.add_StatusServiceServicer_to_server(servicer, grpc_server)
            access_pb2_grpc.add_AccessServiceServicer_to_server(access_servicer, grpc_server)
            events_pb2_grpc.add_EventServiceServicer_to_server(event_servicer, grpc_server)

        server = Server(
            SERVICES,
            register,
            access=counted,
            scopes=SCOPES,
            metrics=metrics.rpc,
            # With one instance there is nowhere else to go.
            connection_age_seconds=status.connection_age_seconds if store.listen else None,
            recheck_seconds=limits.recheck_seconds,
            limits=peers,
        )
        readiness = Readiness(store, server)
        gauges = CampaignGauges(store, metrics.registry, stall_threshold=threshold)
        metrics.watch(store, readiness)
        metrics.watch_certificate(tls.certificate_end)
        board = open_board(
            status,
            service=service,
            views=views,
            store=store,
            access=counted,
            keys=access,
            sender=sender_link.to_sender(status, delegations),
            stopping=stopping,
        )
        servicers = dict(zip(SERVICES, (servicer, access_servicer, event_servicer), strict=True))
        # What HTTP serves, in this order; the servicers are those of gRPC.
        routes = [
            *health_routes(readiness),
            metrics_route(metrics, counted, status, refresh=gauges.refresh),
            *transcoded(
                packaged_rules(),
                servicers,
                access=counted,
                scopes=SCOPES,
                recheck_seconds=limits.recheck_seconds,
                limits=peers,
            ),
            *openapi_routes(),
            *dashboard_routes(board),
        ]
        port = await server.start(status.listen, tls=tls.of_grpc())
        address = f"{status.listen.rpartition(':')[0]}:{port}"
        log.info("serving", address=address, database=store.url, generation=generation)
        async with (
            optional_http(
                observed(application(routes, lost=lost_page(board)), metrics.http),
                status.http_listen,
                beside=server,
                grace=grace,
                tls=tls.of_http(),
            ) as http_address,
            background(tls.follow()),
            background(writer_pool.run()),
            background(follow_store(store, server)),
            background(follow(store, notifier)),
            background(servicer.looks.run()),
            background(
                reconcile(
                    service.mending,
                    scans,
                    Alarms(store, stall_threshold=threshold),
                    interval_seconds=status.reconcile_interval_seconds,
                )
            ),
            background(
                audit(
                    service.mending,
                    _duty_of_audits(store),
                    interval_seconds=status.reconcile_interval_seconds,
                )
            ),
            courier(allow_private=status.webhooks_allow_private) as event_courier,
            background(Publisher(store, event_courier, stall_threshold=threshold).run()),
            background(Sweeper(store, status.expiry, retention_meter).run()),
            background(start_scheduled(service)),
            background(Sampler(store, notifier).run()),
            background(access.record_uses()),
            background(delegations.sweep()),
            board.sender,
        ):
            try:
                yield Running(address, port, http_address, tls.http_scheme, readiness)
            finally:
                log.info("stopping", grace_seconds=status.grace_seconds)
                await _let_end(server, writer_pool, stopping, grace)
    finally:
        await store.stop(grace.left)
    log.info("stopped")


def _duty_of_audits(store: Store) -> Callable[[], Awaitable[bool]]:
    """Return what takes the duty to audit campaigns for this process, or keeps it."""
    take = partial(duty.take, duty="audit", holder=secrets.token_hex(16))

    async def taken() -> bool:
        return await store.write(take) is not None

    return taken


async def _let_end(
    server: Server, writer_pool: WriterPool, stopping: asyncio.Event, grace: Grace
) -> None:
    """Take nothing new, and give calls and frames what they need of ``grace``."""
    grace.begin()
    await server.drain()
    stopping.set()
    await server.stop(grace.left)
    await writer_pool.flush(grace.left)


async def _guarded(status: StatusSettings, access: KeyAccess, *, tls: bool) -> KeyAccess:
    """Return ``access``; let nobody reach a service from elsewhere that nothing guards.

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
    return access


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
