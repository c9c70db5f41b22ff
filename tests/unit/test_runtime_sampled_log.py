"""What anybody can cause, in the log: the first at once, then at most one line a second."""

from __future__ import annotations

from structlog.testing import capture_logs

from service_runtime.errors import KeyInvalidError
from service_runtime.sampled_log import SampledLog


def test_b2_nobody_can_fill_the_log() -> None:
    """A line counts those since the one before it that have none."""
    times = [100.0, 100.1, 100.9, 101.0, 101.5, 103.0]
    clock = iter(times)
    log = SampledLog("call_refused", lambda: next(clock))
    with capture_logs() as lines:
        for number, _ in enumerate(times):
            log.add(number=number)
    assert [(line["event"], line["number"], line["unlogged"]) for line in lines] == [
        ("call_refused", 0, 0),
        ("call_refused", 3, 2),
        ("call_refused", 5, 1),
    ]
    assert {line["log_level"] for line in lines} == {"warning"}


def test_an_error_is_logged_with_its_reason_and_its_words() -> None:
    """Beside what else the line says."""
    with capture_logs() as lines:
        SampledLog("key_refused").add_error(KeyInvalidError("no such key"), address="192.0.2.7")
    assert lines == [
        {
            "event": "key_refused",
            "log_level": "warning",
            "address": "192.0.2.7",
            "reason": "KEY_INVALID",
            "message": "no such key",
            "unlogged": 0,
        }
    ]
