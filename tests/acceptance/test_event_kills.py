"""Events arrive whatever happens to their publisher and receiver; `make soak` takes longer."""

from __future__ import annotations

from pathlib import Path

from soak.events import events_under_faults

_SEED = 3


async def test_each_event_arrives_in_order_while_everything_fails(tmp_path: Path) -> None:
    """The publisher is killed, the receiver fails, hangs, redirects and restarts."""
    report = await events_under_faults(tmp_path, campaigns=10, kills=3, refusals=1, seed=_SEED)
    assert report.holds, str(report)
    assert report.done["service: kill"] == 3, str(report)
    assert report.done["deliveries"] > report.done["events"], str(report)
