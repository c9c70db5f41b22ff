"""The names of organisations and keys; pure."""

from __future__ import annotations

import re
from typing import Final

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: What a name has to be, for people.
NAME_RULE: Final = "1 to 64 of A-Z a-z 0-9 . _ -"


def is_organisation(text: str) -> bool:
    """Return whether an organisation can have this name."""
    return _NAME.fullmatch(text) is not None


def is_key_name(text: str) -> bool:
    """Return whether a key can have this name."""
    return _NAME.fullmatch(text) is not None
