"""How fast a campaign gets results, and how long it still takes; pure code.

Samples are noted when counters changed. Between two of them that are further apart than
one pass nothing changed until shortly before the later one.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from status_service.domain import Counters, State
from status_service.recording.thinning import SAMPLE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: What the rate is counted over, and what the time left is estimated from.
RATE_SPAN, ESTIMATE_SPAN = timedelta(minutes=1), timedelta(minutes=5)
#: Before so long, nothing is said.
_SHORTEST = timedelta(seconds=10)
#: A longer estimate says nothing, and may be more than a timedelta holds.
_LONGEST_ESTIMATE = timedelta(days=365)
_MINUTE = timedelta(minutes=1)


class Sample(NamedTuple):
    """The counters of a campaign at one moment.

    Attributes:
        sample_time: when, by the database's clock.
        counters: how many messages had each outcome.
    """

    sample_time: datetime
    counters: Counters


class Pace(NamedTuple):
    """How fast a campaign goes.

    Attributes:
        results_per_minute: new results of the last minute; None: it is not SENDING, or
            began less than 10 s ago.
        time_left: how long until every message has a result, in whole seconds, as fast as in
            the last five minutes; None: it is not in progress, or nothing came in that time.
    """

    results_per_minute: float | None
    time_left: timedelta | None


NO_PACE = Pace(None, None)


class Course(NamedTuple):
    """What the pace of a campaign is derived from, as of one moment.

    Attributes:
        state: its state.
        total: how many messages it has; None until it is sealed.
        counters: how many of them have each outcome now.
        start_time: when it entered SENDING first, if it did.
        progress_time: when its last new result was stored, if one was.
        now: the database's time.
        stall_threshold: how long without a new result is too long.
    """

    state: State
    total: int | None
    counters: Counters
    start_time: datetime | None
    progress_time: datetime | None
    now: datetime
    stall_threshold: timedelta

    @property
    def is_in_progress(self) -> bool:
        """True if it is SENDING, messages wait, and results came lately."""
        if self.state is not State.SENDING or self.start_time is None:
            return False
        last = max(self.start_time, self.progress_time or self.start_time)
        pending = (self.total or 0) - self.counters.processed
        return pending > 0 and self.now - last <= self.stall_threshold


def series(samples: Iterable[Sample], course: Course) -> list[Sample]:
    """Return the counters of a campaign over time: its start, the samples, and now.

    A sample with fewer results than one before is left out: results don't get fewer, and
    it was read before that one was committed. What is before the first sample is known
    where the campaign has started: nothing had a result.
    """
    found: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: sample.sample_time):
        if not found or sample.counters.processed >= found[-1].counters.processed:
            found.append(sample)
    start = course.start_time
    if start is not None and (not found or start < found[0].sample_time):
        found.insert(0, Sample(start, Counters()))
    if not course.state.is_terminal and (not found or course.now > found[-1].sample_time):
        found.append(Sample(course.now, course.counters))
    return found


def pace(samples: Sequence[Sample], course: Course) -> Pace:
    """Return the pace of a campaign.

    Args:
        samples: those of the last five minutes, and the last one before; others may be among
            them.
        course: how the campaign stands.
    """
    if course.state is not State.SENDING:
        return NO_PACE
    known = _exact(series(samples, course), course)
    rate = _per_minute(known, course, RATE_SPAN)
    lasting = _per_minute(known, course, ESTIMATE_SPAN)
    if not lasting or not course.is_in_progress:
        return Pace(rate, None)
    minutes = ((course.total or 0) - course.counters.processed) / lasting
    if minutes * _MINUTE.total_seconds() > _LONGEST_ESTIMATE.total_seconds():
        return Pace(rate, None)
    return Pace(rate, timedelta(seconds=math.ceil(minutes * _MINUTE.total_seconds())))


def _exact(known: Sequence[Sample], course: Course) -> Sequence[Sample]:
    """Add to a series when its last change was: nothing new has come since ``progress_time``."""
    last = course.progress_time
    if last is None:
        return known
    before = [sample for sample in known if sample.sample_time < last]
    return [*before, Sample(last, course.counters), Sample(course.now, course.counters)]


def _per_minute(known: Sequence[Sample], course: Course, span: timedelta) -> float | None:
    """Return the new results a minute of the last ``span``, or since the start."""
    begin = course.now - span
    if course.start_time is not None:
        begin = max(begin, course.start_time)
    elapsed = course.now - begin
    if elapsed < _SHORTEST:
        return None
    new = course.counters.processed - processed_at(known, begin)
    return max(new, 0.0) / (elapsed / _MINUTE)


def processed_at(known: Sequence[Sample], moment: datetime) -> float:
    """Return how many messages had a result at a moment, as a series of samples shows it."""
    before = [sample for sample in known if sample.sample_time <= moment]
    after = [sample for sample in known if sample.sample_time > moment]
    if not before:
        return after[0].counters.processed if after else 0
    last = before[-1]
    if not after:
        return last.counters.processed
    following = after[0]
    # Nothing changed between them until the pass before the later one.
    begin = max(last.sample_time, following.sample_time - SAMPLE_INTERVAL)
    if moment <= begin:
        return last.counters.processed
    share = (moment - begin) / (following.sample_time - begin)
    new = following.counters.processed - last.counters.processed
    return last.counters.processed + new * share
