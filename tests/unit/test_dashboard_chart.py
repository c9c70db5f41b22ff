"""The chart of a campaign: what its lines, labels and table say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_service.dashboard.chart import Chart, chart
from status_service.domain import Counters
from status_service.reads.pace import Sample

START = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)


def samples(a_minute: list[int], *, step: timedelta = timedelta(minutes=1)) -> list[Sample]:
    """Return samples of a campaign that sends so many in each step, from its start on."""
    found, sent = [Sample(START, Counters())], 0
    for index, more in enumerate(a_minute, 1):
        sent += more
        found.append(Sample(START + index * step, Counters(sent=sent)))
    return found


def drawn(points: list[Sample], silent_since: datetime | None = None) -> Chart:
    """Return the chart of samples that are enough for one."""
    found = chart(points, silent_since=silent_since)
    assert found is not None
    return found


def test_too_few_samples_make_no_chart() -> None:
    """Nothing, a start alone, and what is over within seconds."""
    assert chart([]) is None
    assert chart(samples([])) is None
    assert chart(samples([5], step=timedelta(seconds=4))) is None


def test_it_shows_what_came_each_minute() -> None:
    """Whatever the samples' step: here two for each minute."""
    found = drawn(samples([100, 200] * 30, step=timedelta(seconds=30)))
    assert set(found.sent_at.split("|")) == {"200", "400"}
    assert found.times[0].text == "08:30"
    assert found.times[-1].text == "09:00"


def test_lines_are_steps() -> None:
    """They go across and up or down, and never slope."""
    found = drawn(samples([10, 0, 30, 30, 5]))
    assert re.fullmatch(r"M0 [\d.]+(H\d+|V[\d.]+)+", found.sent)
    assert found.area == f"{found.sent}V150H0Z"


def test_a_stalled_one_has_a_band() -> None:
    """From its last result on; the text in words says so as well."""
    points = [*samples([100] * 10), Sample(START + timedelta(minutes=20), Counters(sent=1_000))]
    found = drawn(points, START + timedelta(minutes=10))
    assert (found.band, found.band_width) == ("50.0%", "50.0%")
    assert found.band_text == "No result since 08:40"
    assert found.label == (
        "Messages a minute on 25 Nov 2026, 08:30 UTC to 08:50 UTC: at most 100 sent and 0 failed"
        " a minute; none since 08:40 UTC."
    )


def test_a_gap_is_one() -> None:
    """Samples are noted while counters change: before the later one nothing came."""
    points = samples([100] * 10)
    points.append(Sample(START + timedelta(minutes=20), Counters(sent=1_100)))
    shown = drawn(points).sent_at.split("|")
    assert shown[-4:-2] == ["0", "0"]


@pytest.mark.parametrize("days", [0.02, 0.5, 3, 40, 900])
def test_labels_are_few_and_apart(days: float) -> None:
    """Two to six of them, in their order, however long it takes."""
    length = timedelta(days=days) / 50
    found = drawn(samples([50] * 50, step=length))
    places = [float(mark.place.rstrip("%")) for mark in found.times]
    assert 2 <= len(places) <= 6
    assert all(after - before > 8 for before, after in pairwise(places))
    assert len(found.rows) <= 16
    assert len(found.sent_at.split("|")) <= 82


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=240))
def test_the_table_has_every_message(a_minute: list[int]) -> None:
    """Its rows add up to what was sent, but for what rounding does to each."""
    found = drawn(samples(a_minute))
    total = sum(int(row[1].replace(",", "")) for row in found.rows)
    assert abs(total - sum(a_minute)) <= len(found.rows)
    assert len(found.heights) <= 4
