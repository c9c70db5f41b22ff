"""Times between two looks, tries and turns: none lets a loop run without a pause."""

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
