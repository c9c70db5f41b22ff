"""Background tasks that run while a service serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import structlog

from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from service_runtime.database import Store
    from service_runtime.grpc_server import Server

log = structlog.get_logger()

#: Exit code of a process whose background work failed by a defect.
EXIT_DEFECT = 70
#: Seconds between two probes while the database does not answer.
_PROBE_SECONDS = 0.5


@contextlib.asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` while the block runs, and cancel it at the end.

    ``work`` handles the failures it expects. Any other failure is a defect, and a
    service must not continue without its writer: the stack is logged and the process
    exits at once, for its supervisor to restart. Acknowledged results are stored.
    """
    task = asyncio.create_task(work, name=repr(work))
    task.add_done_callback(_end_on_defect)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _end_on_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("background_work_failed", work=task.get_name(), exc_info=task.exception())
        os._exit(EXIT_DEFECT)


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
        await asyncio.sleep(_PROBE_SECONDS)
