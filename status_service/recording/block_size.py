"""How many rows a transaction of long work takes, by how long the last ones took.

Others wait for a transaction: on SQLite for its lock, on PostgreSQL for the processors and
the disk. A number of rows that suits one machine is too much for another, or for the same one
an hour later.
"""

from __future__ import annotations

#: How long a transaction should take, seconds, unless another time is given.
TARGET_SECONDS = 0.025
#: The first one has so many rows, and none has fewer, unless fewer are allowed.
_LEAST = 500


class BlockSize:
    """As many rows as a transaction takes about so long for.

    It falls at once and rises at most to the double: one that is too long holds up others.

    Args:
        most: never more.
        target_seconds: how long; absent: :data:`TARGET_SECONDS`.

    Attributes:
        rows: how many the next transaction takes.
    """

    def __init__(self, most: int, *, target_seconds: float | None = None) -> None:
        self._most = most
        self._target_seconds = TARGET_SECONDS if target_seconds is None else target_seconds
        self.rows = min(_LEAST, most)

    def took(self, rows: int, seconds: float) -> None:
        """Note how long a transaction of so many rows took."""
        fitting = int(rows * self._target_seconds / seconds) if seconds > 0 else self._most
        self.rows = min(max(fitting, _LEAST), 2 * self.rows, self._most)
