"""What a header makes of a rendered text."""

from __future__ import annotations

import re

#: Control characters, spaces, and what some programs take for a line break.
BREAKS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """Return ``text`` on one line: each run of spaces and control characters is a space."""
    return BREAKS.sub(" ", text).strip(" ")
