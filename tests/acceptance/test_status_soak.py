"""S1, S4, S7, S8, L1: a short soak of two services on PostgreSQL; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

from soak.run import soak

_SECONDS = 10.0
#: Its first fault is a kill, which happens however slow the machine is.
_SEED = 1


async def test_s7_two_replicas_and_their_database_are_killed_under_load(tmp_path: Path) -> None:
    """Nothing acknowledged is lost, counters are exact, and each campaign completes once."""
    report = await soak(tmp_path, replicas=2, seconds=_SECONDS, seed=_SEED)
    assert report.holds, str(report)
    assert report.done["kill"], str(report)
    assert report.done["campaigns"], str(report)
