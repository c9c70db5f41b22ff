"""When a delivery that failed is tried again, and when no more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

#: No try begins later than this after the first one.
PATIENCE: Final = timedelta(days=1)
#: The waits after the first failures; the last one also after all that follow.
_WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 900, 1_800, 3_600, 7_200)
)
#: A receiver that asks for more time gets as much at most.
_LONGEST_ASKED = timedelta(hours=2)


def next_try(
    attempts: int,
    *,
    first: datetime,
    now: datetime,
    asked: timedelta | None = None,
    spread: float = 0.0,
) -> datetime | None:
    """Return when to try again; None: the delivery is dead.

    Args:
        attempts: how many failed so far, at least 1.
        first: when the first one began.
        now: the database's time.
        asked: how long the receiver asks to wait (Retry-After), if it does.
        spread: 0 to 1: by up to a tenth longer, so that receivers are not met in step.
    """
    wait = _WAITS[min(attempts, len(_WAITS)) - 1]
    if asked is not None:
        wait = max(wait, min(asked, _LONGEST_ASKED))
    wait *= 1 + spread / 10
    left = first + PATIENCE - now
    if left <= timedelta(0):
        return None
    return now + min(wait, left)
