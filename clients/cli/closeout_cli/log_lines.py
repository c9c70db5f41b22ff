"""The services' JSON log lines, as people read them on a terminal."""

from __future__ import annotations

import json
from typing import Any

_LEFT_OUT = ("timestamp", "level", "service", "event", "exception")


#: Events of every start and stop, which the command itself reports.
_NO_NEWS = frozenset({"serving", "stopping", "stopped"})


def for_terminal(line: str) -> str:
    """Return a log line as :func:`readable` has it; empty if the command said it already."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if isinstance(entry, dict) and _is_no_news(entry):
        return ""
    return readable(line)


def _is_no_news(entry: dict[str, Any]) -> bool:
    """Return whether an entry says only that a start or a stop goes as it should."""
    match entry.get("event"):
        case "readiness_changed":
            return entry.get("serving") is True and entry.get("level") == "info"
        case "database_migrated":
            return entry.get("version_before") == "empty"
        case event:
            return event in _NO_NEWS


def readable(line: str) -> str:
    """Return a JSON log line as ``time level service event key=value…``; others as they are."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    time = str(entry.get("timestamp", ""))[11:19]
    words = [
        time,
        f"{entry.get('level', ''):<7}",
        f"{entry.get('service', '')}",
        str(entry.get("event", "")),
        *(f"{key}={value}" for key, value in entry.items() if key not in _LEFT_OUT),
    ]
    return "\n".join([" ".join(word for word in words if word), *_stack(entry.get("exception"))])


def _stack(exception: Any) -> list[str]:
    if not isinstance(exception, list):
        return [f"  {line}" for line in str(exception).splitlines()] if exception else []
    lines: list[str] = []
    for part in exception:
        lines.extend(
            f"  {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}"
            for frame in part.get("frames", [])
        )
        lines.append(f"  {part.get('exc_type')}: {part.get('exc_value')}")
    return lines
