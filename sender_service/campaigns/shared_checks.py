"""Checks that are running, each shared by all who ask for it meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


class _Running(Generic[_T]):
    def __init__(self, task: asyncio.Task[_T]) -> None:
        self.task = task
        self.callers = 0


class SharedChecks(Generic[_T]):
    """Runs each check once at a time, whatever the number of callers.

    What a provider sees does not grow with the number of people who ask for it.
    """

    def __init__(self) -> None:
        self._running: dict[str, _Running[_T]] = {}

    async def run(self, name: str, check: Callable[[], Coroutine[None, None, _T]]) -> _T:
        """Return the result of the check of this name that is running, or of a new one.

        It is cancelled when nobody waits for it any more.
        """
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = _Running(asyncio.create_task(check()))
        running.callers += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.callers -= 1
            if self._running.get(name) is running and (running.task.done() or not running.callers):
                del self._running[name]
                running.task.cancel()
