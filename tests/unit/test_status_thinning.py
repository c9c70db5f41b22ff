"""Which samples of a campaign are kept, however long it runs."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from status_service.recording.thinning import (
    MOST_SAMPLES,
    RECENT,
    SAMPLE_INTERVAL,
    thinned,
)

_START = datetime(2026, 11, 25, tzinfo=UTC)


def _run(every: timedelta, length: timedelta) -> tuple[list[datetime], timedelta]:
    """Note samples as the passes do; return those that are left, and the step."""
    times: list[datetime] = []
    step = SAMPLE_INTERVAL
    now = _START
    while now <= _START + length:
        if len(times) + 1 >= MOST_SAMPLES:
            dropped, step = thinned(times, step)
            assert dropped
            times = [time for time in times if time not in dropped]
        times.append(now)
        assert len(times) < MOST_SAMPLES
        now += every
    return times, step


@pytest.mark.parametrize(
    ("every", "length"),
    [
        (timedelta(seconds=10), timedelta(minutes=30)),
        (timedelta(seconds=10), timedelta(hours=12)),
        (timedelta(seconds=13), timedelta(days=3)),
        (timedelta(hours=1), timedelta(days=60)),
        (timedelta(days=2), timedelta(days=3_000)),
    ],
)
def test_a_campaign_has_a_bounded_number_of_samples(every: timedelta, length: timedelta) -> None:
    """However long it runs: from its first one to the last, the last minutes whole."""
    times, step = _run(every, length)
    assert times[0] == _START
    recent = [time for time in times if time > times[-1] - RECENT]
    whole = [later - earlier for earlier, later in itertools.pairwise(recent)]
    assert set(whole) <= {every}
    # Enough is left to draw a line, and nowhere is there a hole.
    assert len(times) >= min(100, length // every)
    holes = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(holes) <= max(2 * step, every)


def test_few_samples_are_left_alone() -> None:
    """A step that leaves 200 of them is not doubled; one that leaves more is."""
    times = [_START + number * SAMPLE_INTERVAL for number in range(201)]
    assert thinned(times[:200], SAMPLE_INTERVAL) == ([], SAMPLE_INTERVAL)
    dropped, step = thinned(times, SAMPLE_INTERVAL)
    assert step == 2 * SAMPLE_INTERVAL
    # The last six minutes keep every sample; before them every other one goes.
    assert dropped == times[1:164:2]


def test_samples_by_hand_do_not_keep_it_busy_for_ever() -> None:
    """Hundreds of samples within one second are more than there can be; it still ends."""
    times = [_START + number * timedelta(milliseconds=1) for number in range(500)]
    assert thinned(times, SAMPLE_INTERVAL) == ([], SAMPLE_INTERVAL)
