"""The log lines of refused keys: the first at once, then at most one a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from service_runtime.errors import ServiceError

log = structlog.get_logger()

#: The shortest time between two lines, seconds.
_BETWEEN_LINES = 1.0


class RefusalLog:
    """Logs refused keys, so that nobody can fill the log with them.

    Args:
        clock: a monotonic clock, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: float | None = None
        self._unlogged = 0

    def add(self, address: str, key_id: str, error: ServiceError) -> None:
        """Log a refusal, with the number of those since the last line that were not logged.

        Args:
            address: where the call comes from.
            key_id: the public part of the key; empty if it has none.
            error: why it is refused.
        """
        now = self._clock()
        if self._logged_at is not None and now - self._logged_at < _BETWEEN_LINES:
            self._unlogged += 1
            return
        log.warning(
            "key_refused",
            address=address,
            key_id=key_id,
            reason=error.reason,
            message=error.message,
            unlogged=self._unlogged,
        )
        self._logged_at, self._unlogged = now, 0
