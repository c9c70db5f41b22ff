"""Which message, or which sender, a provider refuses alone while it takes all others.

Some answers speak of the sender as a whole: "relaying denied", "wait", 404 from a server
of webhooks. They hold everything up, since nothing more would pass. A server may say the
same about one odd recipient only, who then must not hold up a campaign. One fact tells
them apart: the server has taken another message since it first said so about this one.
"""

from __future__ import annotations

from collections import OrderedDict

#: Keys that are remembered; the oldest is forgotten.
_MAX_KEYS = 10_000


class OddOnes:
    """Remembers what a provider faulted, until it takes it."""

    def __init__(self) -> None:
        self._taken = 0
        self._first_faults: OrderedDict[str, int] = OrderedDict()

    def taken(self, *keys: str) -> None:
        """Note that the provider has taken a message; ``keys`` are what it stands for."""
        self._taken += 1
        for key in keys:
            self._first_faults.pop(key, None)

    def is_odd(self, key: str) -> bool:
        """Note a fault at ``key``, and return whether the provider takes all others.

        True if it has taken a message of another key since the first fault at this one.
        """
        first = self._first_faults.setdefault(key, self._taken)
        if len(self._first_faults) > _MAX_KEYS:
            self._first_faults.popitem(last=False)
        return self._taken > first
