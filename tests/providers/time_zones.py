"""Each process that runs tests is in another time zone: nothing may depend on where it runs.

What a test starts is in the zone of its process. The header of the run has the zones; the
option ``--time-zone`` chooses one, to repeat what failed in it.
"""

from __future__ import annotations

import os
import time

import pytest

#: By the number of the process, again from the first on. A run in one process is in the first,
#: which is none of those that most machines have. They differ from UTC by 5:45 hours, 3:30 with
#: a summer time, and 14, the most there is.
ZONES = ("Asia/Kathmandu", "America/St_Johns", "UTC", "Pacific/Kiritimati")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--time-zone",
        metavar="ZONE",
        help="run all tests in this time zone, such as Asia/Kathmandu, and not each process in"
        " another",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the zone before any test or fixture starts something."""
    worker: str = getattr(config, "workerinput", {}).get("workerid", "gw0")
    os.environ["TZ"] = _zone(config, int(worker.removeprefix("gw")))
    time.tzset()


def pytest_report_header(config: pytest.Config) -> str:
    """Say which process is in which zone."""
    processes = config.getoption("numprocesses", None) or 0
    if not processes:
        return f"time zone: {_zone(config, 0)}"
    zones = (f"gw{number} {_zone(config, number)}" for number in range(processes))
    return f"time zones: {', '.join(zones)}"


def _zone(config: pytest.Config, number: int) -> str:
    chosen: str | None = config.getoption("time_zone")
    return chosen or ZONES[number % len(ZONES)]
