"""Numbers, times and states as people read them, and durations as they write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from closeout.status.v1 import status_pb2 as pb
from closeout.times import to_datetime

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

_STANDING = {
    pb.Campaign.DRAFT: "collecting recipients",
    pb.Campaign.PAUSED: "until it is resumed",
    pb.Campaign.CANCELLED: "ended by its owner",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def state_name(campaign: pb.Campaign) -> str:
    """Return the state by its name in the contract; its number if this client is older."""
    return enum_name(pb.Campaign.State, campaign.state)


def enum_name(kind: object, value: int) -> str:
    """Return the name of an enum's value, or the number if it has none here."""
    by_number = kind.DESCRIPTOR.values_by_number  # type: ignore[attr-defined] # generated wrappers have one
    return by_number[value].name if value in by_number else str(value)


def percent(part: int, whole: int) -> str:
    """Return ``part`` of ``whole``; never 100% while something is missing."""
    if whole == 0:
        return "100.0%"
    tenths = part * 1000 // whole
    return f"{tenths // 10}.{tenths % 10}%"


def span(time: timedelta) -> str:
    """Return a span of time with its two largest units."""
    seconds = max(int(time.total_seconds()), 0)
    if seconds < _UNITS["m"]:
        return f"{seconds}s"
    if seconds < _UNITS["h"]:
        return f"{seconds // 60}m {seconds % 60}s"
    if seconds < _UNITS["d"]:
        return f"{seconds // 3600}h {seconds % 3600 // 60}m"
    return f"{seconds // 86400}d {seconds % 86400 // 3600}h"


def now() -> datetime:
    """Return the time by the clock of this machine."""
    return datetime.now(UTC)


def ago(time: Timestamp) -> str:
    """Return how long ago it was, by the clock of this machine."""
    return f"{span(now() - to_datetime(time))} ago"


def until(time: Timestamp) -> str:
    """Return in how long it will be, by the clock of this machine."""
    return f"in {span(to_datetime(time) - now())}"


def clock(time: Timestamp) -> str:
    """Return a point in time in the local time zone, to the second."""
    return to_datetime(time).astimezone().isoformat(sep=" ", timespec="seconds")


def short_clock(time: Timestamp) -> str:
    """Return the same without the time zone, for tables that people read."""
    return to_datetime(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(message: Message, field: str) -> str:
    """Return a time of a message for programs, in UTC; empty if it is not set."""
    return getattr(message, field).ToJsonString() if message.HasField(field) else ""


def number(count: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 message`` or ``12,050 messages``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def parse_span(text: str) -> timedelta:
    """Return the span that ``90``, ``90s``, ``5m``, ``2h`` or ``1d`` names.

    Raises:
        ValueError: it names none, or a negative one.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is not a duration, as in 90s, 5m, 2h or 1d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])


def parse_time(text: str) -> datetime:
    """Return the point in time; without a zone it is local time.

    Raises:
        ValueError: it is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time, as in 2030-01-31T09:00 or 2030-01-31T09:00+02:00"
        ) from None


def counts(campaign: pb.Campaign) -> str:
    """Return the counters as every command prints them."""
    return (
        f"total={campaign.total} sent={campaign.sent} failed={campaign.failed}"
        f" skipped={campaign.skipped} unknown={campaign.unknown}"
    )


def processed(campaign: pb.Campaign) -> str:
    """Return how many messages have a result, of how many; a dash before that is known."""
    if not campaign.sealed:
        return "-"
    done = percent(campaign.processed, campaign.total)
    return f"{campaign.processed:,} of {campaign.total:,} ({done})"


def problem_text(problem: pb.Problem) -> str:
    """Return what holds a sender up, in one line: what, the other side's words, the setting."""
    detail = f": {problem.detail}" if problem.detail else ""
    setting = f" (setting {problem.setting})" if problem.setting else ""
    person = "; it needs attention" if problem.needs_attention else ""
    return f"{problem.summary}{detail}{setting}{person}"


def short_problem(problem: pb.Problem) -> str:
    """Return a problem as a sentence, for a list."""
    text = problem.summary[:1].upper() + problem.summary[1:]
    return f"{text}; it needs attention." if problem.needs_attention else f"{text}."


def sentence(diagnosis: pb.CampaignDiagnosis, explanation: str = "") -> str:
    """Return how a campaign stands and what to do, as the service says it.

    Args:
        diagnosis: what was found.
        explanation: the explanation that came beside it, if one did.
    """
    if diagnosis.repaired and diagnosis.campaign.state == pb.Campaign.COMPLETED:
        return diagnosis.action  # it says what was done, and that every message has a result
    stated = explanation or diagnosis.explanation
    action = "" if diagnosis.action in stated else diagnosis.action
    return " ".join(f"{stated} {action}".split())


def standing(campaign: pb.Campaign) -> str:
    """Return what the state alone does not say, in a few words; often nothing."""
    if any(problem.needs_attention for problem in campaign.problems):
        return "needs attention"
    if campaign.state == pb.Campaign.SCHEDULED and campaign.HasField("schedule_time"):
        return f"starts {until(campaign.schedule_time)}"
    if campaign.state == pb.Campaign.COMPLETED and campaign.unknown:
        return f"with {campaign.unknown:,} in doubt"
    return _STANDING.get(campaign.state, "")


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of ``key=value``.

    Raises:
        ValueError: it has no key, or no =.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not a label, as in list=newsletter")
    return key, value


def labels_text(campaign: pb.Campaign) -> str:
    """Return the labels of a campaign as ``key=value``, by key."""
    return ", ".join(f"{key}={value}" for key, value in sorted(campaign.labels.items()))
