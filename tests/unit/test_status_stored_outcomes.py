"""How stored results are looked up: everything, once, and what lies together as a range."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from status_service.recording.stored_outcomes import layout

_sequences = st.integers(1, 200)
_frames = st.lists(
    st.one_of(
        st.lists(_sequences, max_size=30),
        st.builds(lambda first, size: list(range(first, first + size)), _sequences, _sequences),
    ),
    max_size=12,
)


@given(_frames)
# One that lies within another, and one behind its end that the shorter one does not reach.
@example([list(range(1, 101)), [5, 6], [90, 101]])
@example([[n] for n in range(1, 200, 20)])
def test_s2_every_sequence_is_looked_up_once(frames: list[list[int]]) -> None:
    """Each is in one range or among the keys; ranges do not overlap."""
    found = layout(frames)
    assert all(before[1] < after[0] for before, after in pairwise(found.ranges))
    assert all(first <= last for first, last in found.ranges)
    assert list(found.keys) == sorted(set(found.keys))
    for sequence in {sequence for frame in frames for sequence in frame}:
        inside = sum(first <= sequence <= last for first, last in found.ranges)
        assert inside + (sequence in found.keys) == 1
    assert set(found.keys) <= {sequence for frame in frames for sequence in frame}


def test_streams_of_one_campaign_are_a_range_each() -> None:
    """Frames of sixteen streams, far from each other, need no look at a single message."""
    frames = [
        range(start + turn * 500, start + turn * 500 + 500)
        for turn in range(3)
        for start in range(1, 16_000_000, 1_000_000)
    ]
    found = layout(frames)
    assert found.ranges == [(start, start + 1_499) for start in range(1, 16_000_000, 1_000_000)]
    assert not found.keys


def test_what_lies_alone_is_looked_up_by_its_key() -> None:
    """A range for each of many strays would cost more than all of them by one statement."""
    frames = [[*range(1, 101), *range(1_000, 100_000, 1_000)]]
    found = layout(frames)
    assert found.ranges == [(1, 100)]
    assert found.keys == list(range(1_000, 100_000, 1_000))


def test_a_few_strays_of_many_campaigns_need_no_statement_each() -> None:
    """They are ranges: those of all campaigns go into one statement."""
    assert layout([[7], [9_000]]).ranges == [(7, 7), (9_000, 9_000)]
    assert layout([[]]) == ([], [])
