"""Whether this call of the command answers in JSON, for everything that prints.

The answer is known before the command line is parsed, so that a wrong command line is
reported in JSON too.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_as_json: ContextVar[bool] = ContextVar("as_json", default=False)


def as_json() -> bool:
    """Return whether everything that is printed must be JSON."""
    return _as_json.get()


@contextlib.contextmanager
def of(words: Sequence[str]) -> Iterator[None]:
    """Print JSON for the time of the block if the command line has ``--json``.

    Args:
        words: the arguments of the command line.
    """
    options = words[: words.index("--")] if "--" in words else words
    token = _as_json.set("--json" in options)
    try:
        yield
    finally:
        _as_json.reset(token)
