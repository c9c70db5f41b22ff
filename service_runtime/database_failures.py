"""The log lines of a database that fails: each cause at once, then at most one in ten seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

#: The shortest time between two lines with the same cause, seconds.
_BETWEEN_LINES = 10.0


@dataclass(slots=True)
class _Cause:
    logged_at: float
    unlogged: int = 0


class FailureLog:
    """Logs why the database fails, so that one that is down does not fill the disk with it.

    Args:
        clock: a monotonic clock, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._causes: dict[str, _Cause] = {}

    def add(self, cause: str) -> None:
        """Log a failure, with the number of those with its cause that were not logged."""
        now = self._clock()
        known = self._causes.get(cause)
        if known is not None and now - known.logged_at < _BETWEEN_LINES:
            known.unlogged += 1
            return
        unlogged = 0 if known is None else known.unlogged
        log.warning("store_failed", error=cause, unlogged=unlogged)
        # Causes are the database's words, of any number: what is over must not pile up.
        self._causes = {
            words: one
            for words, one in self._causes.items()
            if now - one.logged_at < _BETWEEN_LINES
        }
        self._causes[cause] = _Cause(now)
