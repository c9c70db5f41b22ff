"""The rate of a campaign and the time left, case by case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from status_service.domain import Counters, State
from status_service.reads.pace import Course, Pace, Sample, pace, processed_at, series

_NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def _ago(seconds: float) -> datetime:
    return _NOW - timedelta(seconds=seconds)


def _samples(*noted: tuple[float, int]) -> list[Sample]:
    return [Sample(_ago(seconds), Counters(sent=sent)) for seconds, sent in noted]


def _course(
    sent: int,
    *,
    state: State = State.SENDING,
    total: int = 10_000,
    started: float | None = 3_600,
    progressed: float | None = 1,
) -> Course:
    return Course(
        state=state,
        total=total,
        counters=Counters(sent=sent),
        start_time=None if started is None else _ago(started),
        progress_time=None if progressed is None else _ago(progressed),
        now=_NOW,
        stall_threshold=timedelta(minutes=5),
    )


#: Ten a second for an hour, noted every ten seconds.
_STEADY = _samples(*((seconds, 36_000 - 10 * seconds) for seconds in range(600, 0, -10)))


@pytest.mark.parametrize(
    ("samples", "course", "expected"),
    [
        pytest.param(
            _STEADY,
            _course(36_000, total=42_001),
            Pace(600.0, timedelta(seconds=601)),
            id="steady: 600 a minute, and 6,001 more take 600.1 s, rounded up",
        ),
        pytest.param(
            _samples((400, 0), (64, 1_000), (54, 1_100)),
            _course(1_300, total=2_300),
            Pace(260.0, timedelta(seconds=231)),
            id="between two samples the count is in between: 1,040 a minute ago",
        ),
        pytest.param(
            _samples((400, 500), (5, 600)),
            _course(600),
            Pace(100.0, timedelta(seconds=28_200)),
            id="nothing changed until the pass before the later sample",
        ),
        pytest.param(
            _samples((200, 500)),
            _course(500, progressed=200),
            Pace(0.0, timedelta(hours=1, minutes=35)),
            id="nothing in the last minute, but in the last five",
        ),
        pytest.param(
            _samples((310, 500)),
            _course(500, progressed=310),
            Pace(0.0, None),
            id="stalled: nothing came for longer than the threshold",
        ),
        pytest.param(
            [], _course(0, progressed=None), Pace(0.0, None), id="nothing has come at all"
        ),
        pytest.param(
            [],
            _course(7, progressed=7_200),
            Pace(0.0, None),
            id="no sample of it yet, and its last result is two hours old",
        ),
        pytest.param(
            [],
            _course(100, progressed=120),
            Pace(0.0, timedelta(seconds=60 * 9_900 // 20)),
            id="no sample of it yet, and its last result is two minutes old",
        ),
        pytest.param(
            [],
            _course(100, started=30),
            Pace(200.0, timedelta(minutes=49, seconds=30)),
            id="since its start, where that is less than a minute ago",
        ),
        pytest.param([], _course(100, started=9), Pace(None, None), id="too early to say"),
        pytest.param(
            [],
            _course(100, started=10),
            Pace(600.0, timedelta(minutes=16, seconds=30)),
            id="ten seconds are enough",
        ),
        pytest.param(
            _STEADY, _course(36_000, total=36_000), Pace(600.0, None), id="nothing is left"
        ),
        pytest.param(
            _STEADY, _course(36_000, state=State.PAUSED), Pace(None, None), id="it is paused"
        ),
        pytest.param(
            _STEADY, _course(36_000, state=State.COMPLETED), Pace(None, None), id="it has ended"
        ),
        pytest.param([], _course(0, state=State.DRAFT), Pace(None, None), id="not started"),
        pytest.param(
            _samples((30, 900)),
            _course(500),
            Pace(500.0, timedelta(seconds=5_700)),
            id="a counter that was too high until it was counted again",
        ),
        pytest.param(
            _samples((301, 0)),
            _course(1, total=2**53),
            Pace(1.0, None),
            id="an estimate of more than a year is none",
        ),
        pytest.param(
            _samples((3_000, 7)), _course(8, started=None), Pace(1.0, None), id="no start is known"
        ),
    ],
)
def test_pace(samples: list[Sample], course: Course, expected: Pace) -> None:
    """The rate is that of the last minute, the time left follows from the last five."""
    assert pace(samples, course) == expected


def test_the_series_begins_with_the_start_and_ends_with_now() -> None:
    """What the page draws covers all the time that the campaign has been sending."""
    course = _course(30)
    assert series(_samples((20, 10), (10, 20)), course) == [
        Sample(_ago(3_600), Counters()),
        *_samples((20, 10), (10, 20), (0, 30)),
    ]


def test_an_ended_campaign_ends_with_its_last_sample() -> None:
    """Nothing is drawn after the end."""
    course = _course(30, state=State.COMPLETED)
    assert series(_samples((20, 10), (10, 30)), course)[-1] == Sample(_ago(10), Counters(sent=30))


def test_a_sample_that_was_read_too_early_is_left_out() -> None:
    """Results never get fewer, so a sample with fewer than the one before is an older state."""
    course = _course(30, started=None)
    found = series(_samples((20, 25), (19, 20), (10, 28)), course)
    assert [sample.counters.sent for sample in found] == [25, 28, 30]


def test_a_moment_before_everything_has_what_is_known_first() -> None:
    """Where no start is known, nothing is made up."""
    assert processed_at(_samples((20, 25)), _ago(30)) == 25
    assert processed_at([], _ago(30)) == 0
