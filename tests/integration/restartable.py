"""A status service that starts again on its database, called from a thread without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from integration.databases import Database
from integration.status_support import PATIENCE_SECONDS, Status, serving

T = TypeVar("T")


class Restartable:
    """A status service in the loop of the tests; use :func:`restartable`."""

    def __init__(self, database: Database) -> None:
        #: The service as it runs now.
        self.status: Status
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._up = asyncio.Event()
        self._again = asyncio.Event()

    async def serve(self) -> None:
        """Serve for ever; :meth:`restart` stops the service and starts it again."""
        while True:
            async with serving(self._database) as self.status:
                self._up.set()
                await self._again.wait()
                self._again.clear()

    async def up(self) -> None:
        """Wait until it serves."""
        await self._up.wait()

    async def restart(self) -> None:
        """Stop it and start it; nothing but the database is kept."""
        self._up.clear()
        self._again.set()
        await self._up.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` in the loop, and wait for it in the thread that calls."""

        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await work

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()


@asynccontextmanager
async def restartable(database: Database) -> AsyncIterator[Restartable]:
    """Serve from a database."""
    service = Restartable(database)
    serve = asyncio.create_task(service.serve())
    up = asyncio.create_task(service.up())
    try:
        await asyncio.wait({serve, up}, return_when=asyncio.FIRST_COMPLETED)
        yield service
    finally:
        up.cancel()
        serve.cancel()
        await asyncio.gather(up, serve, return_exceptions=True)
