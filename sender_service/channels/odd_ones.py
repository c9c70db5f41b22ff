"""Which message, or which sender, a provider refuses alone while it takes all others.

Some answers speak of the sender as a whole: "relaying denied", "wait", 404 from a server
of webhooks. They hold everything up, since nothing more would pass. A server may say the
same about one odd recipient only, who then must not hold up a campaign. One fact
separates them: the server has taken another message since it first said so about this one.

A server that says so of one recipient says it of others as well. Once that is known of an
answer, it counts for the one message at once, unless the server has taken nothing since
it last gave this answer.
"""

from __future__ import annotations

from collections import OrderedDict

#: Keys that are remembered; the oldest is forgotten.
_MAX_KEYS = 10_000


class OddOnes:
    """Remembers what a provider faulted, until it takes it."""

    def __init__(self) -> None:
        self._taken = 0
        #: How many messages had been taken at the first fault at a key.
        self._first_faults: OrderedDict[str, int] = OrderedDict()
        #: How many had been taken at the last answer of a kind that is given to odd ones.
        self._known_kinds: dict[str, int] = {}

    def taken(self, *keys: str) -> None:
        """Note that the provider has taken a message; ``keys`` are what it stands for."""
        self._taken += 1
        for key in keys:
            self._first_faults.pop(key, None)

    def is_odd(self, *keys: str, kind: str = "") -> bool:
        """Note a fault, and return whether the provider takes all others.

        Args:
            keys: what the fault may be about: the message, its sender.
            kind: which answer it was; empty: an answer that odd ones and all others get by
                turns, such as one that asks to wait.
        """
        firsts = [self._first_faults.setdefault(key, self._taken) for key in keys]
        while len(self._first_faults) > _MAX_KEYS:
            self._first_faults.popitem(last=False)
        is_odd = self._taken > min(firsts)
        if kind in self._known_kinds:
            is_odd = is_odd or self._taken > self._known_kinds[kind]
        if is_odd and kind:
            self._known_kinds[kind] = self._taken
        return is_odd
