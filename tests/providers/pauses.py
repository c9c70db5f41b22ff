"""The pauses between two looks at what tests wait for."""

from __future__ import annotations

from collections.abc import Iterator

#: The first pause and the longest, seconds.
_FIRST, _LONGEST = 0.005, 0.05
_GROWTH = 1.5


def pauses() -> Iterator[float]:
    """Yield seconds without end: what did not come at once is looked at less often.

    A look costs a call, or a connection to the database, and other tests compute meanwhile.
    """
    seconds = _FIRST
    while True:
        yield seconds
        seconds = min(seconds * _GROWTH, _LONGEST)
