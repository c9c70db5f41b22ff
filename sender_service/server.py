"""Put the sender service together, serve, and take it apart in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from closeout.aio import StatusClient
from closeout.sender.v1 import sender_pb2, sender_pb2_grpc
from sender_service.api.scopes import SCOPES
from sender_service.api.servicer import SenderServicer
from sender_service.campaigns.directory import Directory
from sender_service.campaigns.health import HealthChecks
from sender_service.campaigns.service import SenderCampaigns
from sender_service.campaigns.trial import Trials
from sender_service.channels.registry import ChannelRegistry, installed_channels
from sender_service.delivery.supervisor import Supervisor
from sender_service.migrations import MIGRATIONS
from sender_service.reporting.result_stream import ResultStream
from sender_service.store import campaigns, leases, outages
from service_runtime import exposure
from service_runtime.access import EverybodyAccess
from service_runtime.background import background, follow_store
from service_runtime.database import Store
from service_runtime.errors import StartupError
from service_runtime.grpc_server import Server
from service_runtime.http_app import application
from service_runtime.http_server import optional_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import sqlalchemy as sa

    from sender_service.channels.contract import Channel
    from sender_service.delivery.clock import Clock
    from sender_service.settings import SenderSettings, Settings

log = structlog.get_logger()

#: What the service is called in what it says to people.
HOLDER = "sender service"
_NAME = sender_pb2.DESCRIPTOR.services_by_name["SenderService"].full_name
#: How long the last results may take to be acknowledged at a stop, seconds.
_DRAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """A sender service that serves.

    Attributes:
        address: HOST:PORT it listens on.
        port: the port of it.
        http_address: HOST:PORT where HTTP listens; empty: nowhere.
    """

    address: str
    port: int
    http_address: str


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    channels: Mapping[str, type[Channel]] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Running]:
    """Serve, and send what is not finished, while the block runs.

    At the end: health says NOT_SERVING, nothing new is launched, what is in flight
    is written down, results are reported as far as that goes quickly, running calls
    get their grace, the store is closed.

    Args:
        settings: all of them.
        channels: the channel classes, by name; absent: those installed.
        clock: counts the waits for providers; absent: real time.

    Raises:
        StartupError: the database, the address or a channel can't be used, or others than this
            machine could reach it without a key.
    """
    sender = settings.sender
    _check_exposure(sender)
    classes = installed_channels() if channels is None else channels
    # In a thread: a migration may take long, and signals are heard meanwhile.
    store = await asyncio.to_thread(Store, database_url(settings), MIGRATIONS, holder=HOLDER)
    registry = ChannelRegistry(classes, settings)
    try:
        await store.write(_forget_former_process)
        async with StatusClient(sender.status_address) as client:
            instance = _instance()
            directory = Directory(store)
            stream = ResultStream(
                store, client, directory, instance=instance, replay_days=sender.replay_days
            )
            supervisor = Supervisor(
                store, registry, client, directory, sender, instance=instance, clock=clock
            )
            service = SenderCampaigns(
                store, registry, client, directory, shard_size=sender.shard_size
            )
            health = HealthChecks(store, client, registry, status_address=sender.status_address)
            servicer = SenderServicer(service, Trials(registry), health)
            server = Server(
                [_NAME],
                lambda grpc_server: sender_pb2_grpc.add_SenderServiceServicer_to_server(
                    servicer, grpc_server
                ),
                access=EverybodyAccess(),
                scopes=SCOPES,
            )
            port = await server.start(sender.listen)
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
                    application([]), sender.http_listen, grace_seconds=sender.grace_seconds
                ) as http_address,
                background(stream.run()),
                background(stream.follow_deliveries()),
                background(stream.store_acknowledgements()),
                background(supervisor.run()),
                background(follow_store(store, server)),
            ):
                try:
                    await supervisor.resume()
                    yield Running(address, port, http_address)
                finally:
                    log.info("stopping", grace_seconds=sender.grace_seconds)
                    await server.drain()
                    await supervisor.stop(sender.grace_seconds)
                    await stream.drain(_DRAIN_SECONDS)
                    await server.stop(sender.grace_seconds)
    finally:
        await registry.close()
        store.close()
    log.info("stopped")


def database_url(settings: Settings) -> str:
    """Return the URL of a database that a sender can be on.

    Raises:
        StartupError: it can't.
    """
    url = settings.sender.database_url
    if url.startswith("postgresql"):
        # Nothing takes over the campaigns of another instance yet.
        raise StartupError("[sender] database_url: the sender runs on sqlite:///PATH only")
    return url


def _check_exposure(sender: SenderSettings) -> None:
    """Let nobody reach a service from elsewhere that nothing guards.

    Raises:
        StartupError: somebody could.
    """
    warnings = exposure.check(
        exposure.Exposure(
            table="sender",
            addresses=(sender.listen, sender.http_listen),
            keys_exist=False,
            tls=False,
            allow_without_keys=sender.allow_without_keys,
            allow_plaintext=sender.allow_plaintext,
        )
    )
    for warning in warnings:
        log.warning("reachable_from_elsewhere", address=sender.listen, detail=warning)


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
