"""Writes that end although their caller goes away, and those that need a count first."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from service_runtime.errors import ServiceError
from status_service.recording.counting import UncountedError, count_by_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from service_runtime.database import Store
    from status_service.recording.counting import Count

T = TypeVar("T")


class Finisher:
    """Runs what must not stop half-way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def running(self) -> int:
        """How much of it has not ended."""
        return len(self._tasks)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` to its end, also where the caller goes away meanwhile.

        What is written must reach the watchers, the streams and the log.
        """
        task = asyncio.create_task(_outcome(work))
        self._tasks.add(task)  # the loop alone would not hold on to it
        task.add_done_callback(self._tasks.discard)
        done = await asyncio.shield(task)
        if isinstance(done, ServiceError):
            raise done
        return done


async def counted(store: Store, write: Callable[[Count | None], Awaitable[T]]) -> T:
    """Run a write, again with a count of the results as often as it asks for one.

    Args:
        store: the database.
        write: the write; it raises UncountedError where it needs a count that holds.
    """
    count = None
    while True:
        try:
            return await write(count)
        except UncountedError as uncounted:
            count = await store.read_long(partial(count_by_number, number=uncounted.campaign))


async def _outcome(work: Coroutine[Any, Any, T]) -> T | ServiceError:
    """Return what ``work`` returns, or how it is refused.

    A refusal is for the caller, who may be gone by then. Any other exception is a
    defect, which the loop logs where nobody is left to see it.
    """
    try:
        return await work
    except ServiceError as refusal:
        return refusal
