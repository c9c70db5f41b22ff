"""What an answer of a mail server means; pure rules over the table of verdicts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sender_service.channels.contract import Answer
from sender_service.channels.email.verdict_table import TABLE
from sender_service.channels.replies import Verdict

if TYPE_CHECKING:
    from sender_service.channels.email.steps import Step
    from sender_service.channels.email.verdict_row import Row

_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
#: What no row knows: an answer that SMTP does not, such as 354 to RCPT.
_STRANGE = Verdict(Answer.DEFERRED)

_ASKED = re.compile(
    r"(?:again|back|retry|wait|delay\w*|gr[ae]ylist\w*)[^\d\n]{0,40}?"
    r"(?:(?P<clock>\d{1,3}:\d\d:\d\d)"
    r"|(?P<number>\d{1,6})\s*(?P<unit>s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?))\b",
    re.IGNORECASE,
)
_UNITS = {"s": 1, "m": 60, "h": 3600}


def row_of(step: Step, code: int, text: str) -> Row | None:
    """Return the row of the table that fits an answer; None if none does."""
    enhanced = _ENHANCED.match(text)
    found = enhanced[1] if enhanced else ""
    # An answer may go over several lines, broken anywhere.
    line = " ".join(text.split())
    return next((row for row in TABLE if row.fits(step, str(code), found, line)), None)


def verdict_of(step: Step, code: int, text: str) -> Verdict:
    """Return what an answer means that is no success.

    Args:
        step: what was answered.
        code: the status.
        text: the text with its enhanced code, as the server sent it.
    """
    row = row_of(step, code, text)
    return _STRANGE if row is None else row.verdict


def asked_wait_seconds(text: str) -> float | None:
    """Return how long a text asks to wait, as in "try again in 5 minutes"; None: it does not."""
    match = _ASKED.search(text)
    if match is None:
        return None
    if match["clock"]:
        hours, minutes, seconds = (int(part) for part in match["clock"].split(":"))
        return float(hours * 3600 + minutes * 60 + seconds)
    return float(int(match["number"]) * _UNITS[match["unit"][0].lower()])
