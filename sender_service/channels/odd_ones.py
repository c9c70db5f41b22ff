"""Which message a provider refuses alone while it takes all others of the campaign.

Some answers speak of the sender as a whole: "relaying denied", "wait", 404 from a server
of webhooks. They hold everything up, since nothing more would pass. A server may say the
same about one odd recipient only, who then must not hold up a campaign. One fact
separates them: the server has taken another message of the campaign since it first said so
about this one. What it takes of other campaigns says nothing: it may refuse this one's
sender address, which is no matter of a channel.

A server that says so of one recipient says it of others as well. Once that is known of an
answer, it counts for the one message at once, unless the server has taken nothing of the
campaign since it last gave this answer to another one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

#: Messages, campaigns and answers that are remembered; the one used longest ago is forgotten.
_MAX_KEYS = 10_000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class OddOnes:
    """Remembers what a provider faulted, until it takes it."""

    def __init__(self) -> None:
        #: How many messages of a campaign were taken.
        self._taken: OrderedDict[str, int] = OrderedDict()
        #: How many had been taken at the first fault of a message.
        self._first_faults: OrderedDict[str, int] = OrderedDict()
        #: Answers that are given to odd ones.
        self._kinds: set[str] = set()
        #: How many had been taken when a message of a campaign was odd last, and its key.
        self._last_odd: OrderedDict[tuple[str, str], tuple[int, str]] = OrderedDict()

    def taken(self, campaign: str, key: str) -> None:
        """Note that the provider has taken a message of a campaign."""
        _keep(self._taken, campaign, self._taken.get(campaign, 0) + 1)
        self._first_faults.pop(key, None)

    def is_odd(self, campaign: str, key: str, *, kind: str = "") -> bool:
        """Note the fault of a message, and return whether the provider takes all others.

        Args:
            campaign: the campaign.
            key: the message.
            kind: which answer it was; empty: an answer that odd ones and all others get by
                turns, such as one that asks to wait.
        """
        taken = self._taken.get(campaign, 0)
        first = self._first_faults.get(key, taken)
        _keep(self._first_faults, key, first)
        is_odd = taken > first
        if kind in self._kinds:
            last, odd = self._last_odd.get((campaign, kind), (0, ""))
            is_odd = is_odd or taken > last or (odd == key and taken == last)
        if is_odd and kind:
            self._kinds.add(kind)
            _keep(self._last_odd, (campaign, kind), (taken, key))
        return is_odd


def _keep(known: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MAX_KEYS:
        known.popitem(last=False)
