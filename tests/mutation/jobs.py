"""What a process is to run: the tests for a mutation, or a test without any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mutation.mutations import Mutation

#: Tests may take this many times as long, and this much longer, seconds.
_TIMES_AS_LONG, _LONGER_SECONDS = 8.0, 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """A mutation, or none, and the tests to run with it.

    Attributes:
        seconds: how long the tests take without a mutation.
        at_import: the statement runs when its module is imported.
    """

    mutation: Mutation | None
    tests: Sequence[str]
    seconds: float
    at_import: bool = False


def seconds_for(job: Job) -> float:
    """Return after how many seconds a job counts as endless, on a machine as busy as this one."""
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return busy * (_TIMES_AS_LONG * job.seconds + _LONGER_SECONDS)
