"""The chart of a campaign: new results a minute, as lines the server draws; pure code.

Steps, since these are counts of intervals: a slope would invent values between them.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from status_service.dashboard.formats import clock, day, whole
from status_service.recording.thinning import SAMPLE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from status_service.reads.pace import Sample

#: The size of what the lines are drawn in.
WIDTH, HEIGHT = 1_000, 150
#: Where it begins from above, and how high the scale may be.
_TOP = 24
_MOST_STEPS, _MOST_ROWS, _MOST_MARKS = 80, 16, 4
_MINUTE = timedelta(minutes=1)
_LENGTHS = tuple(
    timedelta(seconds=seconds)
    for seconds in (10, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600)
) + tuple(timedelta(days=days) for days in (0.5, 1, 2, 7, 14, 28, 91, 365))
#: Labels are further from both ends than this, in percent, or left out.
_APART = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Mark(NamedTuple):
    """A label of the scale: where, and what it says."""

    place: str
    text: str
    y: float = 0


class Chart(NamedTuple):
    """The chart, finished.

    Attributes:
        label: what it shows, in words.
        sent: the line of those sent, as the path of SVG.
        area: what is below it.
        failed: the line of those that failed or are in doubt.
        heights: labels of the scale at the left.
        times: labels below.
        band: from where on no result came, in percent; empty: results come.
        band_width: how wide that is.
        band_text: what stands there.
        at: the time of each step, for the script, parted by "|"; so are the two others.
        sent_at: how many were sent in a minute of it.
        failed_at: how many failed.
        rows: the same as a table: from, sent, failed.
    """

    label: str
    sent: str
    area: str
    failed: str
    heights: Sequence[Mark]
    times: Sequence[Mark]
    band: str
    band_width: str
    band_text: str
    at: str
    sent_at: str
    failed_at: str
    rows: Sequence[tuple[str, str, str]]


class _Step(NamedTuple):
    """One interval: when it begins, how long it is, and how many came in it."""

    begin: datetime
    length: timedelta
    sent: float
    failed: float

    @property
    def rates(self) -> tuple[float, float]:
        minutes = self.length / _MINUTE
        return self.sent / minutes, self.failed / minutes


def chart(samples: Sequence[Sample], *, silent_since: datetime | None = None) -> Chart | None:
    """Return the chart of a campaign; None: there are not enough samples yet.

    Args:
        samples: its counters over time, oldest first, from its start to its end or now.
        silent_since: when the last result came of one that is stalled.
    """
    if not samples or samples[-1].sample_time - samples[0].sample_time < SAMPLE_INTERVAL:
        return None
    steps = _steps(samples)
    begin, end = steps[0].begin, steps[-1].begin + steps[-1].length
    long = end - begin > timedelta(days=1)
    top, heights = _scale(max(max(step.rates) for step in steps))
    sent = _path(steps, [step.rates[0] / top for step in steps], begin, end)
    x = _place(silent_since, begin, end) if silent_since else 100.0
    return Chart(
        label=_label(steps, begin, end, silent_since),
        sent=sent,
        area=f"{sent}V{HEIGHT}H0Z",
        failed=_path(steps, [step.rates[1] / top for step in steps], begin, end),
        heights=heights,
        times=_times(begin, end, long=long),
        band=f"{x:.1f}%" if silent_since else "",
        band_width=f"{100 - x:.1f}%",
        band_text=f"No result since {_moment(silent_since, long=long)}" if silent_since else "",
        at="|".join(_moment(step.begin, long=long) for step in steps),
        sent_at="|".join(whole(round(step.rates[0])) for step in steps),
        failed_at="|".join(whole(round(step.rates[1])) for step in steps),
        rows=[
            (_moment(step.begin, long=long), whole(round(step.sent)), whole(round(step.failed)))
            for step in _rows(steps)
        ],
    )


def _steps(samples: Sequence[Sample]) -> list[_Step]:
    begin, end = samples[0].sample_time, samples[-1].sample_time
    length = next((one for one in _LENGTHS if (end - begin) / one <= _MOST_STEPS), _LENGTHS[-1])
    first = begin - (begin - _EPOCH) % length
    number = max(1, round((end - first) / length))
    edges = [first + index * length for index in range(number)]
    edges = [begin, *(edge for edge in edges if edge > begin), end]
    gaps = sorted(after.sample_time - before.sample_time for before, after in pairwise(samples))
    usual = max(SAMPLE_INTERVAL, gaps[len(gaps) // 2])
    counts = _at(samples, edges, usual)
    return [
        _Step(edge, following - edge, after[0] - before[0], after[1] - before[1])
        for (edge, following), (before, after) in zip(
            pairwise(edges), pairwise(counts), strict=True
        )
        if following > edge
    ]


def _at(
    samples: Sequence[Sample], moments: Sequence[datetime], usual: timedelta
) -> list[tuple[float, float]]:
    """Return how many were sent, and how many failed, at each of ``moments`` in order.

    Samples are noted while counters change: between two that are far apart nothing changed
    until shortly before the later one.
    """
    found, index = [], 0
    for moment in moments:
        while index + 1 < len(samples) and samples[index + 1].sample_time <= moment:
            index += 1
        last = _counts(samples[index])
        if index + 1 == len(samples):
            found.append(last)
            continue
        following = samples[index + 1]
        since = max(samples[index].sample_time, following.sample_time - usual)
        share = max(0.0, (moment - since) / (following.sample_time - since))
        after = _counts(following)
        found.append(
            (last[0] + (after[0] - last[0]) * share, last[1] + (after[1] - last[1]) * share)
        )
    return found


def _counts(sample: Sample) -> tuple[float, float]:
    return sample.counters.sent, sample.counters.failed + sample.counters.unknown


def _scale(highest: float) -> tuple[float, list[Mark]]:
    """Return the top of the scale, and its labels: at most three, round numbers."""
    least = max(highest, 1.0) / 3
    power = 10 ** math.floor(math.log10(least))
    step = max(1, next(power * factor for factor in (1, 2, 4, 5, 10) if power * factor >= least))
    lines = max(1, math.ceil(highest / step))
    top = float(step * lines)
    return top, [
        Mark("", whole(round(step * line)), _TOP + HEIGHT * (1 - step * line / top))
        for line in range(1, lines + 1)
    ]


def _path(steps: Sequence[_Step], heights: Sequence[float], begin: datetime, end: datetime) -> str:
    drawn, before = "M0", None
    for step, height in zip(steps, heights, strict=True):
        y = f"{HEIGHT * (1 - max(0.0, height)):.1f}"
        if before is None:
            drawn += f" {y}"
        elif y != before:
            drawn += f"V{y}"
        before = y
        drawn += f"H{WIDTH * (step.begin + step.length - begin) / (end - begin):.0f}"
    return drawn


def _place(moment: datetime, begin: datetime, end: datetime) -> float:
    return min(100.0, max(0.0, 100 * ((moment - begin) / (end - begin))))


def _times(begin: datetime, end: datetime, *, long: bool) -> list[Mark]:
    """Return the labels below: both ends, and round times between them."""
    length = next((one for one in _LENGTHS if (end - begin) / one <= _MOST_MARKS), _LENGTHS[-1])
    moment = begin - (begin - _EPOCH) % length + length
    marks = [Mark("0", _moment(begin, long=long))]
    while moment < end:
        place = _place(moment, begin, end)
        if _APART < place < 100 - _APART:
            marks.append(Mark(f"{place:.1f}%", _moment(moment, long=long)))
        moment += length
    return [*marks, Mark("100%", _moment(end, long=long))]


def _moment(moment: datetime, *, long: bool) -> str:
    time = clock(moment).removesuffix(" UTC")
    return f"{day(moment).rsplit(' ', 1)[0]}, {time}" if long else time


def _rows(steps: Sequence[_Step]) -> list[_Step]:
    """Return the steps in at most so many rows."""
    together = math.ceil(len(steps) / _MOST_ROWS)
    return [
        _Step(
            part[0].begin,
            sum((step.length for step in part), timedelta()),
            sum(step.sent for step in part),
            sum(step.failed for step in part),
        )
        for part in (steps[at : at + together] for at in range(0, len(steps), together))
    ]


def _label(
    steps: Sequence[_Step], begin: datetime, end: datetime, silent_since: datetime | None
) -> str:
    sent = max(round(step.rates[0]) for step in steps)
    failed = max(round(step.rates[1]) for step in steps)
    on = f" on {day(end)}" if begin.date() == end.date() else f" from {day(begin)} to {day(end)}"
    text = (
        f"Messages a minute{on}, {clock(begin)} to {clock(end)}:"
        f" at most {whole(sent)} sent and {whole(failed)} failed a minute"
    )
    return f"{text}; none since {clock(silent_since)}." if silent_since else f"{text}."
