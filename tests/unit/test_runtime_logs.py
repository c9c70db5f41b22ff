"""What the log contains, and what it must never contain."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import structlog
from service_runtime.logs import configure_logs

configure_logs("info", service="status")
log = structlog.get_logger()

def fail(address):
    raise ValueError("it broke")

try:
    fail("ann" + "@example.com")
except ValueError:
    log.exception("call_failed", campaign_id="c1")
"""


def test_a_stack_is_logged_without_the_values_in_it() -> None:
    """S15: a crash is logged with its stack and without the address of a recipient."""
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    (line,) = run.stderr.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["level"]) == ("call_failed", "error")
    assert (logged["service"], logged["campaign_id"]) == ("status", "c1")
    assert "ValueError: it broke" in logged["exception"]
    assert "in fail" in logged["exception"]
    assert "ann@example.com" not in run.stderr
