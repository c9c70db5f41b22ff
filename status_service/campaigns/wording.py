"""Numbers and times as the sentences for people have them; pure code."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
#: From so long ago on, the date says more than the number of days.
_DATED = timedelta(days=30)
#: The classes of characters that turn the direction of a text around.
_DIRECTIONS = frozenset({"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def number(count: int) -> str:
    """Return a whole number with commas, never shortened."""
    return f"{count:,}"


def messages(count: int) -> str:
    """Return so many messages: "1 message", "2,000 messages"."""
    return f"{number(count)} {'message' if count == 1 else 'messages'}"


def have(count: int) -> str:
    """Return "has" after a count of one, else "have"."""
    return "has" if count == 1 else "have"


def span(length: timedelta) -> str:
    """Return how long something is: "12 s", "42 min", "1 h 24 min", "17 h", "6 d"."""
    seconds = int(length.total_seconds())
    if seconds < 1:
        return "less than 1 s"
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < _DAY:
        hours, minutes = divmod(seconds // _MINUTE, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds // _DAY} d"


def ago(length: timedelta) -> str:
    """Return how long ago something was: "now" for less than a second, "12 s ago"."""
    return "now" if length < timedelta(seconds=1) else f"{span(length)} ago"


def since(moment: datetime, now: datetime) -> str:
    """Return how long ago ``moment`` was; from 30 days on its date, "on 25 Nov 2026"."""
    if now - moment >= _DATED:
        return f"on {_date(moment)}"
    return ago(now - moment)


def at(moment: datetime) -> str:
    """Return a time: "25 Nov 2026, 08:59 UTC"."""
    return f"{_date(moment)}, {moment.astimezone(UTC):%H:%M} UTC"


def _date(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year}"


def sentence(clause: str) -> str:
    """Return a clause as a sentence: it begins with a capital letter and ends with a period.

    A question or an exclamation keeps its own end.
    """
    begun = f"{clause[:1].upper()}{clause[1:]}"
    return begun if begun.endswith(("?", "!")) else f"{begun.rstrip('.')}."


def foreign(text: str) -> str:
    """Return words of others as a sentence can have them: in one line, and as they read.

    A control character, and one that turns the direction of what follows, is shown as "�".
    """
    return " ".join("".join(map(_shown, text)).split())


def _shown(sign: str) -> str:
    harmful = unicodedata.category(sign) == "Cc" and not sign.isspace()
    return "\ufffd" if harmful or unicodedata.bidirectional(sign) in _DIRECTIONS else sign
