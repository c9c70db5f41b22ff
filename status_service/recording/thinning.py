"""Which samples of a campaign are kept; pure code.

A campaign has at most so many samples. When it has them, the older ones are thinned: the
step doubles until enough of them are gone, and one is dropped where it is closer than a step
to the one kept before it. The last minutes keep every sample, since the rate is read there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: How often counters that changed are noted.
SAMPLE_INTERVAL = timedelta(seconds=10)
#: Samples of a campaign, at most.
MOST_SAMPLES = 240
#: So old, a sample may be dropped: the time left is estimated from five minutes.
RECENT = timedelta(minutes=6)
#: Thinning leaves so many at most, so that it is seldom done.
_LEFT = 200


def thinned(times: Sequence[datetime], step: timedelta) -> tuple[list[datetime], timedelta]:
    """Return which samples to drop, and the step of those that are left.

    Args:
        times: when each sample of a campaign was taken, in order.
        step: the step so far.
    """
    kept = _kept(times, step)
    while len(kept) > _LEFT and step < times[-1] - times[0]:
        step *= 2
        kept = _kept(times, step)
    return [time for time in times if time not in kept], step


def _kept(times: Sequence[datetime], step: timedelta) -> set[datetime]:
    recent = times[-1] - RECENT
    kept: list[datetime] = []
    for time in times:
        if not kept or time > recent or time - kept[-1] >= step:
            kept.append(time)
    return set(kept)
