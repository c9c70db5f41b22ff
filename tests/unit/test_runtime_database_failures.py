"""The log lines of a database that fails."""

from __future__ import annotations

from structlog.testing import capture_logs

from service_runtime.database_failures import FailureLog


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_cause_is_logged_at_once_and_then_once_in_ten_seconds() -> None:
    """With the number of failures that were not logged; another cause does not wait for it."""
    clock = Clock()
    failures = FailureLog(clock)
    with capture_logs() as logs:
        for _ in range(100):  # for 20 s, five times a second
            failures.add("no answer")
            clock.now += 0.2
        failures.add("another")
        failures.add("another")
    found = [(line["event"], line["error"], line["unlogged"]) for line in logs]
    assert found == [
        ("store_failed", "no answer", 0),
        ("store_failed", "no answer", 49),
        ("store_failed", "another", 0),
    ]


def test_causes_that_are_over_are_forgotten() -> None:
    """Their words may differ each time."""
    clock = Clock()
    failures = FailureLog(clock)
    with capture_logs():
        for number in range(100):
            failures.add(f"connection {number} failed")
            clock.now += 1
    assert len(failures._causes) <= 11
