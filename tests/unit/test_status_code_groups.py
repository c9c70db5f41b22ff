"""Groups of results by code, against counting them all."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from status_service.recording import code_groups
from status_service.recording.code_groups import (
    MOST_CODES,
    MOST_EXAMPLES,
    Added,
    Group,
    GroupKey,
    moved,
)

_codes = st.integers(0, MOST_CODES + 10).map(str)
_results = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 3), _codes), max_size=80)


@given(batches=st.lists(_results, max_size=6))
def test_s1_groups_add_up_to_what_is_stored(batches: list[list[tuple[int, int, str]]]) -> None:
    """Whatever is raised: each code's own group has its results, the rest has the others."""
    stored: dict[int, tuple[int, str]] = {}
    groups: dict[GroupKey, Group] = {}
    for batch in batches:
        new = {
            sequence: (outcome, code)
            for sequence, outcome, code in batch
            if sequence not in stored or outcome > stored[sequence][0]
        }
        removed = [(sequence, *stored[sequence]) for sequence in new if sequence in stored]
        added: dict[tuple[int, str], Added] = {}
        for sequence, key in new.items():
            before = added.get(key, Added(0, "said", ()))
            examples = (*before.examples, sequence)[:MOST_EXAMPLES]
            added[key] = Added(before.number + 1, "said", examples)
        changed = moved(groups, added, removed)
        assert changed is not None
        groups |= changed
        stored |= new
        _check(groups, stored)


def _check(groups: dict[GroupKey, Group], stored: dict[int, tuple[int, str]]) -> None:
    counted = Counter(stored.values())
    for outcome in (1, 2, 3):
        named = {key.code for key in groups if key.outcome == outcome and not key.is_rest}
        assert len(named) <= MOST_CODES
        for code in named:
            assert groups[GroupKey(outcome, 0, code)].number == counted[outcome, code]
        others = sum(n for (of, code), n in counted.items() if of == outcome and code not in named)
        assert groups.get(GroupKey(outcome, 1, ""), Group(0, "", ())).number == others
        assert not others or len(named) == MOST_CODES
    for key, group in groups.items():
        assert len(group.examples) == len(set(group.examples)) <= min(MOST_EXAMPLES, group.number)
        for sequence in group.examples:
            outcome, code = stored[sequence]
            assert outcome == key.outcome
            assert key.is_rest or code == key.code


def test_s1_the_first_codes_of_an_outcome_have_groups_of_their_own_for_good() -> None:
    """Once there are as many as there may be, a new code belongs to the rest, a known one not."""
    groups = {GroupKey(3, 0, f"{n}"): Group(1, "said", (n,)) for n in range(MOST_CODES - 1)}
    new = {(3, code): Added(1, code, (100 + n,)) for n, code in enumerate(("a", "b", "0"))}
    assert moved(groups, new, []) == {
        GroupKey(3, 0, "a"): Group(1, "a", (100,)),
        GroupKey(3, 1, ""): Group(1, "b", (101,)),
        GroupKey(3, 0, "0"): Group(2, "said", (0, 102)),
    }
    other = {(2, "a"): Added(1, "a", (100,))}
    assert moved(groups, other, []) == {GroupKey(2, 0, "a"): Group(1, "a", (100,))}


def test_a_result_that_no_group_counts_means_that_groups_are_wrong() -> None:
    """Somebody changed rows by hand: the caller counts again."""
    assert moved({}, {}, [(1, 1, "x")]) is None
    empty = {GroupKey(1, 0, "x"): Group(0, "", ())}
    assert moved(empty, {}, [(1, 1, "x")]) is None


def test_a_group_keeps_what_was_said_first_until_it_is_empty() -> None:
    """The detail is that of a result which the group has, or had."""
    key = GroupKey(3, 0, "550")
    groups = {key: Group(1, "no such user", (1,))}
    more = {(3, "550"): Added(1, "mailbox full", (2,))}
    assert moved(groups, more, []) == {key: Group(2, "no such user", (1, 2))}
    assert moved(groups, more, [(1, 3, "550")]) == {key: Group(1, "mailbox full", (2,))}
    assert code_groups.MOST_EXAMPLES == 3
