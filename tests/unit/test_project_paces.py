"""Times between two looks, tries and turns: no loop runs without a pause, and nobody waits long."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("status_service", "sender_service", "service_runtime")
#: How constants that are times are called.
TIME = re.compile(r"(SECONDS|MILLISECONDS|WAITS?|BACKOFF|POLL|INTERVAL|RECONNECT|LEASE)$")
BETWEEN = re.compile(r"^_?BETWEEN")
#: Where a time of more than a second is one that the documents name, and a test compares.
PROMPT = (
    *("status_service.campaigns", "status_service.live", "status_service.recording"),
    *("sender_service.delivery", "sender_service.reporting", "sender_service.store"),
)
NAMED = {
    *("campaign_gauges._KEEP_SECONDS", "duty.LEASE", "thinning.SAMPLE_INTERVAL"),
    *("recorder._LONGEST_BACKOFF", "delivery_metrics._KEEP_SECONDS"),
    *("activation._MAX_WAIT_SECONDS", "activation.STUCK_SECONDS"),
    *("campaign_delivery._TURN_SECONDS", "campaign_delivery._MAX_WAIT_SECONDS"),
    *("circuit_breaker._UNREACHABLE_WAITS", "circuit_breaker._OTHER_WAITS"),
    *("circuit_breaker.ATTENTION_SECONDS", "gate._MAX_WAIT_SECONDS"),
    *("outage._SILENCE_SECONDS", "outage._MAX_DRIFT_SECONDS", "outage._MAX_DEADLINE_SECONDS"),
    *("shard_commits._MAX_WAIT_SECONDS", "acknowledgements._MAX_WAIT_SECONDS"),
    *("plan.LEASE_MARGIN_SECONDS", "provider._CHECK_GRACE_SECONDS", "provider._NOTE_SECONDS"),
    *("supervisor._MAX_WAIT_SECONDS", "trial._FIRST_HOLD_SECONDS"),
    *("organisations.TURN_SECONDS", "organisations.LINGER_SECONDS"),
    *("organisations._SHORT_WAIT_SECONDS", "problem_reports._MAX_WAIT_SECONDS"),
    *("rejections._MAX_WAIT_SECONDS", "result_stream._LONGEST_WAIT_SECONDS"),
    *("stream_watch._ACKNOWLEDGE_SECONDS", "outages._LONGEST_WAIT"),
}


def constants_of(file: Path) -> Iterator[str]:
    """Yield the names that a module gives to constants."""
    for node in ast.parse(file.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            for each in ast.walk(target) if target is not None else ():
                if isinstance(each, ast.Name) and each.id.isupper():
                    yield each.id


def times_of(service: str) -> Iterator[tuple[str, Any]]:
    """Yield the constants of a service that are times, with their values."""
    for file in sorted((ROOT / service).rglob("[!_]*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        names = [each for each in constants_of(file) if TIME.search(each) or BETWEEN.match(each)]
        for name in names:
            yield f"{module}.{name}", getattr(importlib.import_module(module), name)


def seconds(value: Any) -> Iterator[float]:
    """Yield the times of a constant, in seconds or milliseconds."""
    match value:
        case timedelta():
            yield value.total_seconds()
        case int() | float():
            yield float(value)
        case tuple() | list():
            for each in value:
                yield from seconds(each)
        case dict():
            yield from seconds(list(value.values()))


@pytest.mark.parametrize("service", SERVICES)
def test_no_time_is_zero_or_less(service: str) -> None:
    """A loop that waits for no time at all takes a processor for itself."""
    times = {name: list(seconds(value)) for name, value in times_of(service)}
    assert len(times) > 10
    assert {name: found for name, found in times.items() if min(found, default=1.0) <= 0} == {}


def test_what_somebody_waits_for_follows_within_a_second() -> None:
    """A look, a read or the first new try; settings.md says so, and names what takes longer."""
    times = {
        name: max(seconds(value), default=0.0) for s in SERVICES for name, value in times_of(s)
    }
    longer = {name for name, most in times.items() if name.startswith(PROMPT) and most > 1.0}
    assert {".".join(name.split(".")[-2:]) for name in longer} <= NAMED
    # A write that holds up all others, or a turn that they wait for, is over sooner.
    short = ("block_size.TARGET_SECONDS", "_BESIDE_LITTLE_SECONDS", "_TARGET_SECONDS")
    assert max(most for name, most in times.items() if name.endswith(short)) <= 0.05
