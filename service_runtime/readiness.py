"""Keep the health of a server true to whether its database answers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from service_runtime.database import Store
    from service_runtime.grpc_server import Server

log = structlog.get_logger()

#: How often the database is asked while it does not answer, seconds.
_INTERVAL = 0.5


async def follow_store(store: Store, server: Server) -> None:
    """Set ``server`` serving while ``store`` answers. Runs until it is cancelled."""
    serving = None
    while True:
        if serving is not store.answering:
            serving = store.answering
            await server.set_serving(serving=serving)
            log.info("readiness_changed", serving=serving)
        if not serving:
            with contextlib.suppress(StoreUnavailableError):  # logged by the store; asked again
                await store.probe()
                continue
        await asyncio.sleep(_INTERVAL)
