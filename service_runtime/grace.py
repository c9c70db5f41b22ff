"""The time that a stop has, which all its steps share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a step gets where the time is over: enough for what is about to end, seconds.
_MOMENT_SECONDS = 0.25


class Grace:
    """Counts down from the beginning of a stop.

    Args:
        seconds: how long running work may go on, all steps of the stop together.
        clock: a monotonic clock, seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end: float | None = None

    def begin(self) -> None:
        """Begin to count; a second call changes nothing."""
        if self._end is None:
            self._end = self._clock() + self._seconds

    @property
    def left(self) -> float:
        """How long the next step may take, seconds; never less than a moment."""
        left = self._seconds if self._end is None else self._end - self._clock()
        return max(left, _MOMENT_SECONDS)
