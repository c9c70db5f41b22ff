"""Log lines of which there may be any number: the first at once, then at most one a second."""

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


class SampledLog:
    """Logs an event so that nobody, and no defect, can fill the log with it.

    Args:
        event: its name.
        clock: a monotonic clock, seconds.
    """

    def __init__(self, event: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._event = event
        self._clock = clock
        self._logged_at: float | None = None
        self._unlogged = 0

    def add(self, **fields: object) -> None:
        """Log it as a warning.

        ``unlogged`` is the number of those since the last line that were not logged.
        """
        self._add(log.warning, fields)

    def add_error(self, error: ServiceError, **fields: object) -> None:
        """Log it with the reason and the message of an error."""
        self.add(**fields, reason=error.reason, message=error.message)

    def add_defect(self, error: BaseException, **fields: object) -> None:
        """Log it as an error, with the stack of a defect."""
        self._add(log.error, {**fields, "exc_info": error})

    def _add(self, write: Callable[..., object], fields: dict[str, object]) -> None:
        now = self._clock()
        if self._logged_at is not None and now - self._logged_at < _BETWEEN_LINES:
            self._unlogged += 1
            return
        write(self._event, **fields, unlogged=self._unlogged)
        self._logged_at, self._unlogged = now, 0
