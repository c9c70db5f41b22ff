"""Lines of which there may be any number: the first at once, then at most one a second."""

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


def test_a_defect_is_an_error_with_its_stack() -> None:
    """And is counted as any other line."""
    log = SampledLog("channel_failed", lambda: 0.0)
    defect = ZeroDivisionError()
    with capture_logs() as lines:
        for number in range(3):
            log.add_defect(defect, sequence=number)
    assert lines == [
        {
            "event": "channel_failed",
            "log_level": "error",
            "sequence": 0,
            "exc_info": defect,
            "unlogged": 0,
        }
    ]
