"""How fast a campaign goes, and how long it will still take; pure."""

from __future__ import annotations

from collections import deque

#: The rate is that of the last seconds, so that a pause is noticed.
_WINDOW_SECONDS = 10.0
#: Below this the rate is mostly noise.
_LEAST_SECONDS = 1.0


class Pace:
    """Messages per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, moment: float, processed: int) -> None:
        """Note how many messages have a result.

        Args:
            moment: seconds of a clock that never goes back.
            processed: the number then.
        """
        self._seen.append((moment, processed))
        while len(self._seen) > 2 and moment - self._seen[1][0] >= _WINDOW_SECONDS:  # noqa: PLR2004 - the first and the last
            self._seen.popleft()

    def rate(self, moment: float) -> float | None:
        """Return messages per second; nothing while too little was seen."""
        if not self._seen:
            return None
        start, first = self._seen[0]
        if moment - start < _LEAST_SECONDS:
            return None
        return max(self._seen[-1][1] - first, 0) / (moment - start)


def pace_text(rate: float | None, elapsed: float, pending: int) -> str:
    """Return rate, time elapsed and time left, each with its label.

    Args:
        rate: messages per second, if it is known.
        elapsed: seconds since the start.
        pending: messages without a result.
    """
    parts = [f"{clock_span(elapsed)} elapsed"]
    if rate is not None:
        parts.insert(0, f"{rate:,.0f}/s" if rate >= 1 or not rate else f"{rate * 60:,.0f}/min")
        if pending and rate:
            parts.append(f"about {rough_span(pending / rate)} left")
    return " · ".join(parts)


def clock_span(seconds: float) -> str:
    """Return a span as a clock shows it: ``0:47`` or ``1:02:03``."""
    whole = max(int(seconds), 0)
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02}" if hours else f"{rest // 60}"
    return f"{f'{hours}:' if hours else ''}{minutes}:{rest % 60:02}"


def rough_span(seconds: float) -> str:
    """Return a span as people estimate it: ``40 s``, ``3 min``, ``2 h``, ``4 days``."""
    for limit, size, unit in ((55, 1, "s"), (3300, 60, "min"), (79_200, 3600, "h")):
        if seconds < limit:
            return f"{max(round(seconds / size), 1)} {unit}"
    days = max(round(seconds / 86_400), 1)
    return f"{days:,} day{'' if days == 1 else 's'}"
