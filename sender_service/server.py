"""Put the sender service together, serve, and take it apart in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from closeout import Tls
from closeout.aio.channel import open_channel
from closeout.credentials import sends_in_plain_text
from closeout.environment import ClientOptions, client_options
from closeout.sender.v1 import sender_pb2, sender_pb2_grpc
from sender_service.access.asking import AskingAccess, CallerLimits
from sender_service.access.met_keys import MetKeys
from sender_service.api.scopes import SCOPES
from sender_service.api.servicer import SenderServicer
from sender_service.campaigns.directory import Directory
from sender_service.campaigns.health import HealthChecks
from sender_service.campaigns.retention import Retention
from sender_service.campaigns.service import SenderCampaigns
from sender_service.campaigns.status_account import StatusAccount
from sender_service.campaigns.trial import Trials
from sender_service.channels.registry import ChannelRegistry, installed_channels
from sender_service.delivery.delivery_metrics import DeliveryMetrics
from sender_service.delivery.supervisor import Supervisor
from sender_service.migrations import MIGRATIONS
from sender_service.reporting.meter import ReportingMeter
from sender_service.reporting.organisations import Reporting
from sender_service.settings import HOLDER, database_url
from sender_service.store import campaigns, leases, outages
from sender_service.store.removal import Expiry
from service_runtime import exposure
from service_runtime.background import background, follow_store
from service_runtime.call_limits import CallLimits
from service_runtime.database import Store
from service_runtime.errors import StartupError
from service_runtime.grace import Grace
from service_runtime.grpc_server import Server
from service_runtime.http_app import application
from service_runtime.http_server import optional_http
from service_runtime.http_spans import observed
from service_runtime.metrics import ServiceMetrics
from service_runtime.operations_routes import health_routes, metrics_route
from service_runtime.readiness import Readiness
from service_runtime.running import Running
from service_runtime.tls import ServerTls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import sqlalchemy as sa

    from sender_service.channels.contract import Channel
    from sender_service.delivery.clock import Clock
    from sender_service.settings import SenderSettings, Settings

log = structlog.get_logger()

_NAME = sender_pb2.DESCRIPTOR.services_by_name["SenderService"].full_name
#: How long the last results may take to be acknowledged at a stop, seconds.
_DRAIN_SECONDS = 2.0


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    channels: Mapping[str, type[Channel]] | None = None,
    clock: Clock | None = None,
    limits: CallerLimits = CallerLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[Running]:
    """Serve, and send what is not finished, while the block runs.

    At the end: health says NOT_SERVING, nothing new is launched, what is in flight
    is written down, results are reported as far as that goes quickly, running calls
    get their grace, the store is closed.

    Args:
        settings: all of them.
        channels: the channel classes, by name; absent: those installed.
        clock: counts the waits for providers; absent: real time.
        limits: how long a caller is taken for who it was.

    Raises:
        StartupError: the database, the address, a channel or a file of TLS can't be used, or
            others than this machine could reach it without a key.
    """
    sender = settings.sender
    peers = CallLimits(sender.max_streams, sender.max_calls, sender.max_sending_streams)
    grace = Grace(sender.grace_seconds)
    classes = installed_channels() if channels is None else channels
    tls = await ServerTls.load("sender", sender)
    options = status_options(sender)
    _check_exposure(sender, has_key=bool(options["api_key"]), tls=tls.on)
    # In a thread: a migration may take long, and signals are heard meanwhile.
    store = await asyncio.to_thread(Store, database_url(settings), MIGRATIONS, holder=HOLDER)
    registry = ChannelRegistry(classes, settings)
    try:
        await store.write(_forget_former_process)
        async with open_channel(sender.status_address, **options) as channel:
            account = StatusAccount(channel, has_key=bool(options["api_key"]))
            instance = _instance()
            directory = Directory(store)
            metrics = ServiceMetrics("sender")
            reporting = Reporting(
                store,
                account,
                directory,
                instance=instance,
                replay_days=sender.replay_days,
                hold_after_seconds=sender.hold_after_seconds,
                meter=ReportingMeter(metrics.registry),
            )
            supervisor = Supervisor(
                store, registry, account, directory, sender, instance=instance, clock=clock
            )
            service = SenderCampaigns(
                store, registry, account, directory, shard_size=sender.shard_size
            )
            retention = Retention(
                store,
                registry,
                account,
                expiry=Expiry.of_days(sender.content_keep_days, sender.recipients_keep_days),
                registry_of_metrics=metrics.registry,
            )
            health = HealthChecks(store, account, registry, status_address=sender.status_address)
            servicer = SenderServicer(service, Trials(registry), health, retention)
            access = metrics.counting(
                AskingAccess(account, MetKeys(store, has_key=account.has_key), limits=limits)
            )
            server = Server(
                [_NAME],
                lambda grpc_server: sender_pb2_grpc.add_SenderServiceServicer_to_server(
                    servicer, grpc_server
                ),
                access=access,
                scopes=SCOPES,
                metrics=metrics.rpc,
                recheck_seconds=limits.recheck_seconds,
                limits=peers,
            )
            readiness = Readiness(store, server)
            delivery = DeliveryMetrics(store, directory, supervisor, classes, metrics.registry)
            metrics.watch(store, readiness)
            metrics.watch_certificate(tls.certificate_end)
            routes = [
                *health_routes(readiness),
                metrics_route(metrics, access, sender, refresh=delivery.refresh),
            ]
            port = await server.start(sender.listen, tls=tls.of_grpc())
            address = f"{sender.listen.rpartition(':')[0]}:{port}"
            log.info(
                "serving",
                address=address,
                database=store.url,
                status_address=sender.status_address,
                instance=instance,
            )
            async with (
                optional_http(
                    observed(application(routes), metrics.http),
                    sender.http_listen,
                    beside=server,
                    grace=grace,
                    tls=tls.of_http(),
                ) as http_address,
                background(tls.follow()),
                background(reporting.run()),
                background(reporting.follow_deliveries()),
                background(reporting.store_acknowledgements()),
                background(reporting.hold_unheard()),
                background(supervisor.run()),
                background(retention.run()),
                background(follow_store(store, server)),
            ):
                try:
                    await supervisor.resume()
                    yield Running(address, port, http_address, tls.http_scheme, readiness)
                finally:
                    log.info("stopping", grace_seconds=sender.grace_seconds)
                    grace.begin()
                    await server.drain()
                    await supervisor.stop(grace.left)
                    await reporting.drain(min(_DRAIN_SECONDS, grace.left))
                    await server.stop(grace.left)
    finally:
        await registry.close(grace.left)
        await store.stop(grace.left)
    log.info("stopped")


def _check_exposure(sender: SenderSettings, *, has_key: bool, tls: bool) -> None:
    """Let nobody reach a service from elsewhere that nothing guards.

    Raises:
        StartupError: somebody could.
    """
    warnings = exposure.check(
        exposure.Exposure(
            table="sender",
            addresses=(sender.listen, sender.http_listen),
            keys_exist=has_key,
            tls=tls,
            allow_without_keys=sender.allow_without_keys,
            allow_plaintext=sender.allow_plaintext,
        )
    )
    for warning in warnings:
        log.warning("reachable_from_elsewhere", address=sender.listen, detail=warning)


def status_options(sender: SenderSettings) -> ClientOptions:
    """Return the key and TLS with which the status service is called.

    Raises:
        StartupError: a setting or a file of them can't be used, or the key would go in
            plain text to another machine.
    """
    try:
        options = client_options(
            prefix="[sender] status_",
            api_key=sender.status_api_key.get_secret_value(),
            api_key_file=sender.status_api_key_file,
            tls=sender.status_tls,
            files=Tls(
                ca_file=sender.status_tls_ca_file,
                certificate_file=sender.status_tls_certificate_file,
                key_file=sender.status_tls_key_file,
            ),
        )
    except ValueError as error:
        raise StartupError(f"the status service can't be called: {error}") from error
    if sends_in_plain_text(sender.status_address, **options):
        raise StartupError(
            f"[sender] status_address: the key would go to {sender.status_address} in plain"
            " text; set status_tls_ca_file, or status_tls = false where the network is yours"
        )
    return options


def _forget_former_process(connection: sa.Connection) -> None:
    """Release what the process before held: the store is this one's alone."""
    released = leases.release_all(connection)
    campaigns.clear_problems(connection)
    outages.resume_outages(connection)
    if released:
        log.warning(
            "leases_released", shards=released, reason="the sender was not stopped in order"
        )


def _instance() -> str:
    """Return a name for this process that no other one has or had."""
    return f"{socket.gethostname()[:64]}/{os.getpid()}-{secrets.token_hex(4)}"
