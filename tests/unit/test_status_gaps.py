"""Ranges of messages are cut where a transaction has enough of them."""

from __future__ import annotations

from itertools import chain

import pytest

from status_service.recording.gaps import first_messages, messages_in

_RANGES = [(2, 2), (4, 6), (9, 12), (20, 20)]


@pytest.mark.parametrize("most", range(12))
def test_a_cut_divides_ranges_and_loses_no_message(most: int) -> None:
    """The first part has as many messages as asked for, and both have each message once."""
    taken, left = first_messages(_RANGES, most)
    assert messages_in(taken) == min(most, 9)
    messages = [range(first, last + 1) for first, last in (*taken, *left)]
    assert list(chain(*messages)) == [2, 4, 5, 6, 9, 10, 11, 12, 20]


def test_a_range_is_cut_in_its_middle() -> None:
    """A range that is too long for what is asked for is divided."""
    assert first_messages([(1, 10**9)], 3) == ([(1, 3)], [(4, 10**9)])
