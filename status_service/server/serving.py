"""Put the status service together, serve, and take it apart in order."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from service_runtime.background import background, follow_store
from service_runtime.database import Store
from service_runtime.grace import Grace
from service_runtime.http_server import optional_http
from service_runtime.readiness import Readiness
from service_runtime.running import Running
from service_runtime.tls import ServerTls
from status_service.access.key_access import AccessLimits
from status_service.migrations import MIGRATIONS
from status_service.server import calls
from status_service.server.parts import assemble
from status_service.server.work import working
from status_service.settings import HOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service_runtime.grpc_server import Server
    from status_service.server.parts import Parts
    from status_service.settings import Settings

log = structlog.get_logger()

_DEFAULT_LIMITS = AccessLimits()


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
    grace = Grace(status.grace_seconds)
    tls = await ServerTls.load("status", status)
    # In a thread: a migration may take minutes, and signals are heard meanwhile.
    store = await asyncio.to_thread(Store, status.database_url, MIGRATIONS, holder=HOLDER)
    try:
        parts = await assemble(status, store, limits, tls=tls.on)
        servicers = calls.servicers(parts)
        server = calls.grpc_server(parts, servicers)
        readiness = Readiness(store, server)
        parts.metrics.watch(store, readiness)
        parts.metrics.watch_certificate(tls.certificate_end)
        board = calls.dashboard(parts)
        port = await server.start(status.listen, tls=tls.of_grpc())
        address = f"{status.listen.rpartition(':')[0]}:{port}"
        log.info("serving", address=address, database=store.url, generation=parts.generation)
        async with (
            optional_http(
                calls.http_application(parts, servicers, board, readiness),
                status.http_listen,
                beside=server,
                grace=grace,
                tls=tls.of_http(),
            ) as http_address,
            background(tls.follow()),
            background(follow_store(store, server)),
            working(parts),
            board.sender,
        ):
            try:
                yield Running(address, port, http_address, tls.http_scheme, readiness)
            finally:
                log.info("stopping", grace_seconds=status.grace_seconds)
                await _let_end(server, parts, grace)
    finally:
        await store.stop(grace.left)
    log.info("stopped")


async def _let_end(server: Server, parts: Parts, grace: Grace) -> None:
    """Take nothing new, and give calls and frames what they need of ``grace``."""
    grace.begin()
    await server.drain()
    parts.stopping.set()
    await server.stop(grace.left)
    await parts.writer_pool.flush(grace.left)
