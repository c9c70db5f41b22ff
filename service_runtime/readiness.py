"""Set the health of a server by whether its database answers."""

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

#: Seconds between two probes while the database does not answer.
_INTERVAL = 0.5


async def follow_store(store: Store, server: Server) -> None:
    """Set ``server`` to serving while ``store`` answers. Runs until cancelled."""
    serving = None
    while True:
        if serving is not store.answering:
            serving = store.answering
            await server.set_serving(serving=serving)
            log.info("readiness_changed", serving=serving)
        if not serving:
            with contextlib.suppress(StoreUnavailableError):  # logged by the store
                await store.probe()
                continue
        await asyncio.sleep(_INTERVAL)
