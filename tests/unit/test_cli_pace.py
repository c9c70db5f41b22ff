"""Rate, elapsed time and time left, each with its label; and the bar they stand below."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from closeout.status.v1 import status_pb2 as pb
from closeout_cli.pace import Pace, clock_span, pace_text, rough_span
from closeout_cli.watch_views import picture


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """A campaign that stands still shows it soon."""
    pace = Pace()
    assert pace.rate(0.0) is None
    for second in range(31):
        pace.see(float(second), second * 940)
    assert pace.rate(30.0) == pytest.approx(940)
    pace.see(50.0, 30 * 940)
    assert pace.rate(50.0) == 0
    assert pace.rate(60.0) == 0


def test_a_first_moment_has_no_rate() -> None:
    """Less than a second says nothing."""
    pace = Pace()
    pace.see(0.0, 0)
    pace.see(0.5, 500)
    assert pace.rate(0.5) is None
    assert pace.rate(2.0) == 250


@pytest.mark.parametrize(
    ("rate", "elapsed", "pending", "text"),
    [
        (940.0, 47.9, 56_000, "940/s · 0:47 elapsed · about 1 min left"),
        (None, 3725.0, 10, "1:02:05 elapsed"),
        (0.0, 65.0, 10, "0/s · 1:05 elapsed"),
        (0.5, 5.0, 3600, "30/min · 0:05 elapsed · about 2 h left"),
        (1234.5, 5.0, 0, "1,234/s · 0:05 elapsed"),
    ],
)
def test_every_number_has_a_label(
    rate: float | None, elapsed: float, pending: int, text: str
) -> None:
    """Nobody asks whether a time is elapsed or left."""
    assert pace_text(rate, elapsed, pending) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40, "40 s"), (60, "1 min"), (3400, "1 h"), (80_000, "1 day"), (4e5, "5 days")],
)
def test_time_left_is_rough(seconds: float, text: str) -> None:
    """One number and one unit."""
    assert rough_span(seconds) == text
    assert clock_span(-1) == "0:00"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_bar_fits_the_terminal(width: int) -> None:
    """Two lines: the bar with its numbers, then the pace and what did not go well."""
    campaign = pb.Campaign(
        state=pb.Campaign.SENDING,
        sealed=True,
        total=48_200,
        processed=18_240,
        failed=143,
        unknown=2,
    )
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, no_color=True)
    console.print(picture(campaign, "940/s · 0:47 elapsed · about 1 min left"))
    bar, below = file.getvalue().splitlines()
    assert bar.startswith("SENDING ")
    assert bar.rstrip().endswith("37.8% 18,240 of 48,200")
    assert below.rstrip().startswith("940/s · 0:47 elapsed · about 1 min left")
    assert "143 failed" in below
    assert max(len(bar), len(below.rstrip())) <= width or width < 80


def test_a_campaign_that_has_not_started_has_no_numbers() -> None:
    """Its total is not known yet."""
    file = io.StringIO()
    Console(file=file, width=80).print(
        picture(pb.Campaign(state=pb.Campaign.DRAFT), "0:01 elapsed")
    )
    assert file.getvalue().split()[0] == "DRAFT"
    assert "%" not in file.getvalue()
