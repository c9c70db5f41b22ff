"""The time in which waits for a provider are counted; a test can make it run faster."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """A monotonic clock.

    Attributes:
        speed: how many of its seconds pass in one real second.
    """

    speed: float = 1.0

    def now(self) -> float:
        """Return the time in seconds since an arbitrary moment."""
        return time.monotonic() * self.speed

    def wall(self) -> datetime:
        """Return the time of day, which can be set, and goes on while the machine sleeps."""
        return datetime.now(UTC)

    def real_seconds(self, seconds: float) -> float:
        """Return how long ``seconds`` of this clock really last."""
        return seconds / self.speed
