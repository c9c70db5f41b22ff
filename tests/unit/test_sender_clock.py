"""The time in which waits for a provider are counted."""

from __future__ import annotations

import time

import pytest

from sender_service.delivery.clock import Clock


def test_a_clock_that_runs_faster_makes_waits_shorter() -> None:
    """As many times as fast, and by that much shorter in real time."""
    clock = Clock(200.0)
    assert clock.real_seconds(100.0) == pytest.approx(0.5)
    before, now, after = time.monotonic(), clock.now(), time.monotonic()
    assert 200.0 * before <= now <= 200.0 * after
    assert Clock().real_seconds(3.0) == 3.0
