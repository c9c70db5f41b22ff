"""The tables of a campaign file: known keys, kinds of values, and errors that name both."""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from closeout.sender.v1 import sender_pb2 as pb
from closeout.times import duration
from closeout_cli.campaign_keys import KIND_NAMES, kinds_of
from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_GUARANTEES = {
    "at_most_once": pb.DeliveryOptions.AT_MOST_ONCE,
    "at_least_once": pb.DeliveryOptions.AT_LEAST_ONCE,
}
#: Keys of earlier versions, and where their values stand now.
_MOVED = {
    "[options] window": "[options] max_in_flight",
    "[options] max_attempts": "[retry] max_attempts",
    "[options] retry_backoff_seconds": "[retry] initial_backoff_seconds",
}
_MAX_INT32 = 2**31 - 1
#: Longer spans are refused by the service, or by a Duration.
_MAX_SECONDS = 365 * 86_400
_MAX_DAYS = 366


def check_table(path: Path, section: str, table: dict[str, Any], kinds: Mapping[str, type]) -> None:
    """Check that a table has known keys only, with values of their kinds.

    Args:
        path: the campaign file.
        section: the name of the table; empty: the top level.
        table: the table.
        kinds: the kind of value of each key.

    Raises:
        CommandError: a key is unknown, or its value of another kind.
    """
    for key, value in table.items():
        place = f"[{section}] {key}" if section else key
        if place in _MOVED:
            raise wrong(path, f"{place} is now {_MOVED[place]}")
        if key not in kinds:
            raise wrong(path, f"unknown key {place}{_suggestion(key, kinds)}")
        kind = kinds[key]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise wrong(path, f"{place} must be a {KIND_NAMES[kind]}, not {value!r}")


def texts(path: Path, section: str, table: dict[str, Any]) -> dict[str, str]:
    """Return a table whose keys are free and whose values are texts.

    Raises:
        CommandError: a value is no text.
    """
    for name, value in table.items():
        if not isinstance(value, str):
            raise wrong(path, f"[{section}] {name} must be a text, not {value!r}")
    return table


def delivery_options(path: Path, tables: Mapping[str, Any]) -> pb.DeliveryOptions:
    """Return what ``[options]`` and ``[retry]`` say.

    Raises:
        CommandError: a key is unknown or wrong.
    """
    options: dict[str, Any] = tables.get("options", {})
    check_table(path, "options", options, kinds_of("options"))
    guarantee = options.get("guarantee")
    if guarantee is not None and guarantee not in _GUARANTEES:
        raise wrong(
            path, f"[options] guarantee must be one of {', '.join(_GUARANTEES)}, not {guarantee!r}"
        )
    return pb.DeliveryOptions(
        guarantee=_GUARANTEES.get(guarantee or "", pb.DeliveryOptions.GUARANTEE_UNSPECIFIED),
        max_in_flight=_count(path, "[options] max_in_flight", options.get("max_in_flight", 0)),
        retry=_retry(path, tables["retry"]) if "retry" in tables else None,
    )


def repeat_after(path: Path, tables: Mapping[str, Any]) -> timedelta | None:
    """Return what ``repeat_after_days`` says; None: nothing.

    Raises:
        CommandError: it is negative or too long.
    """
    days = tables.get("repeat_after_days")
    if days is None:
        return None
    if not 0 <= days <= _MAX_DAYS:
        raise wrong(path, f"repeat_after_days must be 0 to {_MAX_DAYS}, not {days}")
    return timedelta(days=days)


def _retry(path: Path, table: dict[str, Any]) -> pb.RetryPolicy:
    check_table(path, "retry", table, kinds_of("retry"))
    policy = pb.RetryPolicy(
        max_attempts=_count(path, "[retry] max_attempts", table.get("max_attempts", 0))
    )
    for key, field, unit in (
        ("initial_backoff_seconds", policy.initial_backoff, 1),
        ("max_backoff_seconds", policy.max_backoff, 1),
        ("deadline_hours", policy.deadline, 3600),
    ):
        if key in table:
            seconds = table[key] * unit
            if not 0 <= seconds <= _MAX_SECONDS:
                raise wrong(path, f"[retry] {key} must not be {table[key]}")
            field.CopyFrom(duration(timedelta(seconds=seconds)))
    return policy


def _count(path: Path, place: str, value: int) -> int:
    if not 0 <= value <= _MAX_INT32:
        raise wrong(path, f"{place} must not be {value}")
    return value


def wrong(path: Path, message: str) -> CommandError:
    """Return the error for something that is wrong in a file."""
    return CommandError(f"{path}: {message}", exit_code=USAGE)


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
