"""Numbers, times and foreign words as pages show them; pure code.

Sentences about campaigns have theirs from :mod:`status_service.campaigns.wording`; what
is the same there is taken from there, so that a figure beside a sentence agrees with it.
The script of the pages formats one thing by itself, a relative time:
``tests/unit/relative_times.json`` has the cases that both must pass.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from status_service.campaigns.wording import ago, number

#: A dash between narrow spaces that don't break, so that a range stays in one line.
_TO = "\u202f\u2013\u202f"
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
#: From so long ago on, the date says more than the number of days.
_DATED = timedelta(days=30)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WORDS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
#: Marks and orders of direction that have no other class that shows them.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: Control characters, and the two that separate lines and paragraphs.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: What stands where a harmful character was.
REPLACEMENT = "\ufffd"


def whole(count: int | None) -> str:
    """Return a whole number with commas, never shortened; empty for what is unknown."""
    return "" if count is None else number(count)


def number_range(first: int, last: int) -> str:
    """Return a range with a dash, in one piece; of one number, that number."""
    if first == last:
        return number(first)
    return f"{number(first)}{_TO}{number(last)}"


def in_words(count: int, *, capital: bool = False) -> str:
    """Return a number to twelve in words, a larger one in digits; 0 is "no"."""
    text = _WORDS[count] if count < len(_WORDS) else number(count)
    return text.capitalize() if capital else text


def plural(count: int, one: str, many: str = "") -> str:
    """Return the noun or verb that goes with a count: ``one``, or ``many`` (one with an s)."""
    return one if count == 1 else many or f"{one}s"


def counted(count: int, one: str, many: str = "") -> str:
    """Return so many of something: "1 message", "2,000 messages"."""
    return f"{number(count)} {plural(count, one, many)}"


def share_of_results(processed: int, total: int | None) -> str:
    """Return how much has a result, rounded down to 0.1 %; 100% only where all have.

    As the command does it, so nothing looks finished that is not. Empty without a total.
    """
    if total is None:
        return ""
    if processed >= total:
        return "100%"
    tenths = max(0, processed) * 1_000 // total
    return _tenths(tenths)


def share_of_outcome(count: int, total: int | None) -> str:
    """Return the share of one outcome, rounded to 0.1 %.

    What is more than nothing is at least "<0.1%", and what is less than all is never 100%.
    Empty without a total, and of no messages.
    """
    if not total:
        return ""
    if count >= total:
        return "100%"
    if count <= 0:
        return "0%"
    tenths = (count * 2_000 + total) // (2 * total)  # half up, without a float
    if tenths == 0:
        return "<0.1%"
    return _tenths(min(tenths, 999))


def _tenths(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}%" if tenths else "0%"


def relative(moment: datetime, now: datetime) -> str:
    """Return how long ago something was: "now", "12 s ago", "1 h 24 min ago", "6 d ago".

    From 30 days on its date, "25 Nov 2026". What the clock of another machine puts into the
    future is now.
    """
    length = now - moment
    return day(moment) if length >= _DATED else ago(length)


def span(length: timedelta) -> str:
    """Return how long something is, in the two largest units: "2 d 4 h", "1 min 12 s".

    Nothing is smaller than 1 s.
    """
    seconds = int(length.total_seconds())
    if seconds < 1:
        return "less than 1 s"
    for unit, below, name, small in (
        (_DAY, _HOUR, "d", "h"),
        (_HOUR, _MINUTE, "h", "min"),
        (_MINUTE, 1, "min", "s"),
    ):
        if seconds >= unit:
            rest = seconds % unit // below
            largest = f"{number(seconds // unit)} {name}"
            return f"{largest} {rest} {small}" if rest else largest
    return f"{seconds} s"


def rate(per_minute: float | None) -> str:
    """Return how many come in a minute, "6,940/min"; under one of them in an hour, "12/h"."""
    if per_minute is None:
        return ""
    if per_minute >= 1 or not per_minute:
        return f"{number(round(per_minute))}/min"
    in_hour = round(per_minute * 60)
    return f"{in_hour}/h" if in_hour else "<1/h"


def day(moment: datetime) -> str:
    """Return a date: "25 Nov 2026"."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year}"


def when(moment: datetime) -> str:
    """Return a time in full: "25 Nov 2026, 08:59:12 UTC"."""
    return f"{day(moment)}, {moment.astimezone(UTC):%H:%M:%S} UTC"


def clock(moment: datetime) -> str:
    """Return a time of day: "09:41 UTC"."""
    return f"{moment.astimezone(UTC):%H:%M} UTC"


def machine(moment: datetime) -> str:
    """Return a time as the attribute ``datetime`` has it: "2026-11-25T08:59:12Z"."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def clean(text: str) -> str:
    """Return words of others so that they can't disturb those around them.

    Control characters, and those that turn the direction of what follows, are shown as "�".
    A line break becomes a space.
    """
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def _shown(sign: str) -> str:
    if sign in "\n\t":
        return " "
    harmful = sign in _DIRECTIONS or unicodedata.category(sign) in _CONTROLS
    return REPLACEMENT if harmful else sign
