"""How groups of results by code change when results are stored; pure code.

An outcome has at most so many groups with a code of their own, the first ones that came.
Once it has them, results of every other code belong to the rest, for good: so the group of
a result that is replaced is always known by its code.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Groups of an outcome with a code of their own, at most.
MOST_CODES = 50
#: Sequences that a group names, at most.
MOST_EXAMPLES = 3
#: A result that is replaced: sequence, outcome, code.
Removed: TypeAlias = tuple[int, int, str]


class GroupKey(NamedTuple):
    """What a group is known by within a campaign; ``is_rest`` is 1 for the rest, else 0."""

    outcome: int
    is_rest: int
    code: str


class Group(NamedTuple):
    """How many results a group has, what was said about one, and the sequences of some."""

    number: int
    detail: str
    examples: tuple[int, ...]


class Added(NamedTuple):
    """New results of one outcome and code: their number, what was said about one, some of them."""

    number: int
    detail: str
    examples: tuple[int, ...]


def moved(
    groups: Mapping[GroupKey, Group],
    added: Mapping[tuple[int, str], Added],
    removed: Iterable[Removed],
) -> dict[GroupKey, Group] | None:
    """Return the groups that change, as they are afterwards.

    Args:
        groups: all groups of the outcomes concerned, as they are stored.
        added: new results by outcome and code.
        removed: the results that they replace.

    Returns:
        None: a result is removed that no group counts, so the groups are wrong.
    """
    after = dict(groups)
    for sequence, outcome, code in removed:
        key = GroupKey(outcome, 0, code)
        if key not in after:
            key = GroupKey(outcome, 1, "")
        group = after.get(key)
        if group is None or group.number < 1:
            return None
        examples = tuple(one for one in group.examples if one != sequence)
        after[key] = Group(group.number - 1, group.detail, examples)
    named = Counter(key.outcome for key in after if not key.is_rest)
    for (outcome, code), new in added.items():
        key = GroupKey(outcome, 0, code)
        if key not in after and named[outcome] >= MOST_CODES:
            key = GroupKey(outcome, 1, "")
        elif key not in after:
            named[outcome] += 1
        after[key] = _with(after.get(key, Group(0, "", ())), new)
    return {key: group for key, group in after.items() if groups.get(key) != group}


def _with(group: Group, new: Added) -> Group:
    examples: Sequence[int] = (*group.examples, *new.examples)
    detail = group.detail if group.number and group.detail else new.detail
    return Group(group.number + new.number, detail, tuple(examples[:MOST_EXAMPLES]))
