"""When a delivery is tried again, and what a receiver may ask for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_service.events.attempt import _asked
from status_service.events.backoff import PATIENCE, next_try

_FIRST = datetime(2030, 1, 1, tzinfo=UTC)


def test_all_tries_are_within_a_day_and_the_last_one_is_at_its_end() -> None:
    """Each wait is as long as the one before, or longer; then it is dead."""
    now, attempts, waits = _FIRST, 1, []
    while planned := next_try(attempts, first=_FIRST, now=now):
        waits.append(planned - now)
        now, attempts = planned, attempts + 1
    assert now == _FIRST + PATIENCE
    assert waits[:-1] == sorted(waits[:-1])
    assert len(waits) < 25


@given(
    attempts=st.integers(1, 10_000),
    late=st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    asked=st.none() | st.timedeltas(timedelta(0), timedelta(days=100_000)),
    spread=st.floats(0, 1),
)
def test_no_clock_and_no_receiver_makes_a_wait_of_more_than_two_hours_and_a_tenth(
    attempts: int, late: timedelta, asked: timedelta | None, spread: float
) -> None:
    """Whatever the first try's time was, and whatever is asked for."""
    now = _FIRST + late
    planned = next_try(attempts, first=_FIRST, now=now, asked=asked, spread=spread)
    assert (planned is None) == (late >= PATIENCE)
    if planned is not None:
        assert timedelta(0) < planned - now <= timedelta(hours=2.2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("120", 120), ("9" * 400, 1_000_000), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    """A date that is over asks for nothing."""
    assert _asked(text) == timedelta(seconds=seconds)
    later = datetime.fromtimestamp(time.time() + 600, UTC)
    found = _asked(format_datetime(later, usegmt=True))
    assert found is not None
    assert 500 < found.total_seconds() <= 600


@given(st.text())
@pytest.mark.parametrize("text", ["", "-1", "1.5", "soon", "², ", "Mon, 99 Zzz 99999 99:99:99"])
def test_any_other_retry_after_asks_for_nothing_and_breaks_nothing(text: str, other: str) -> None:
    """As it comes from a hostile receiver."""
    assert _asked(text) is None
    _asked(other)
    _asked(f"Mon, {other} Jan 2030 {other}:00 GMT")
