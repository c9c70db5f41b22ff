"""Which outcomes are stored already, of the results that a transaction brings.

Results of several streams of one campaign lie in stretches far from each other, so what
lies together is looked up as a range, and the rest by its keys. A range in which nothing is
stored costs the same however long it is.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from status_service.recording.result_columns import array, integers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import sqlalchemy as sa

#: In a range this much sparser than its sequences, reading what lies between costs more
#: than to look each of them up.
_SPARSE = 8
#: As few stretches of a campaign are looked up as ranges, however short each is, beside
#: those of other campaigns and in the same statement.
_FEW_STRETCHES = 4
#: Of more stretches, those with as many sequences are.
_LONG_STRETCH = 16
#: SQLite takes 500 parts of a UNION.
_RANGES_A_STATEMENT = 100
#: SQLite takes 32,766 values in a statement.
_KEYS_A_STATEMENT = 1_000


class Layout(NamedTuple):
    """How the sequences of one campaign are looked up.

    Attributes:
        ranges: first and last of each, both included.
        keys: the sequences outside of them, each once.
    """

    ranges: Sequence[tuple[int, int]]
    keys: Sequence[int]


def layout(parts: Iterable[Sequence[int]]) -> Layout:
    """Return how to look up all sequences of ``parts``, such as those of each frame.

    A part that lies together costs two looks at it, in C, and not one at each sequence.
    """
    stretches: list[_Stretch] = []
    for first, last, sequences in sorted(_pieces(parts), key=_first):
        if stretches and first - stretches[-1].last <= _SPARSE:
            stretches[-1].add(last, sequences)
        else:
            stretches.append(_Stretch(first, last, sequences))
    few = len(stretches) <= _FEW_STRETCHES
    ranges, keys = [], set[int]()
    for stretch in stretches:
        if few or stretch.size >= _LONG_STRETCH:
            ranges.append((stretch.first, stretch.last))
        else:
            keys.update(chain.from_iterable(stretch.parts))
    return Layout(ranges, sorted(keys))


def _pieces(parts: Iterable[Sequence[int]]) -> Iterable[tuple[int, int, Sequence[int]]]:
    """Yield the first, the last and all sequences of what lies together."""
    for part in parts:
        if not part:
            continue
        first, last = min(part), max(part)
        if last - first < _SPARSE * len(part):
            yield first, last, part
        else:
            for sequence in part:
                yield sequence, sequence, (sequence,)


def _first(piece: tuple[int, int, Sequence[int]]) -> int:
    return piece[0]


class _Stretch:
    """Sequences that lie together."""

    __slots__ = ("first", "last", "parts", "size")

    def __init__(self, first: int, last: int, sequences: Sequence[int]) -> None:
        self.first = first
        self.last = last
        self.parts = [sequences]
        self.size = len(sequences)

    def add(self, last: int, sequences: Sequence[int]) -> None:
        """Add what begins in or just behind it."""
        self.last = max(self.last, last)
        self.parts.append(sequences)
        self.size += len(sequences)


def stored_outcomes(
    connection: sa.Connection, requested: Mapping[int, Iterable[Sequence[int]]]
) -> dict[int, dict[int, int]]:
    """Return the stored outcomes of messages, by campaign and sequence.

    Args:
        connection: in a transaction that holds the campaigns locked.
        requested: by campaign, the sequences of each frame. There may be outcomes of
            others between them.
    """
    found: dict[int, dict[int, int]] = {campaign: {} for campaign in requested}
    ranges: list[tuple[int, int, int]] = []
    look_up = _by_array if connection.dialect.name == "postgresql" else _by_values
    for campaign, parts in requested.items():
        where = layout(parts)
        ranges.extend((campaign, first, last) for first, last in where.ranges)
        if where.keys:
            look_up(connection, campaign, where.keys, found[campaign])
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    for start in range(0, len(ranges), _RANGES_A_STATEMENT):
        some = ranges[start : start + _RANGES_A_STATEMENT]
        rows = connection.exec_driver_sql(
            _ranges_sql(len(some), mark), tuple(chain.from_iterable(some))
        )
        for campaign, sequence, outcome in rows:
            found[campaign][sequence] = outcome
    return found


@cache
def _ranges_sql(ranges: int, mark: str) -> str:
    # As text, once for each number of parts: building it takes longer than running it.
    one = (
        "SELECT campaign, sequence, outcome FROM results"  # noqa: S608 - no input
        f" WHERE campaign = {mark} AND sequence BETWEEN {mark} AND {mark}"
    )
    return " UNION ALL ".join([one] * ranges)


def _by_array(
    connection: sa.Connection, campaign: int, keys: Sequence[int], found: dict[int, int]
) -> None:
    rows = connection.exec_driver_sql(_AMONG, (campaign, array([integers(keys)])))
    found.update((sequence, outcome) for sequence, outcome in rows)


_AMONG = (
    "SELECT sequence, outcome FROM results WHERE campaign = %s AND sequence = ANY(%s::bigint[])"
)


def _by_values(
    connection: sa.Connection, campaign: int, keys: Sequence[int], found: dict[int, int]
) -> None:
    for start in range(0, len(keys), _KEYS_A_STATEMENT):
        some = keys[start : start + _KEYS_A_STATEMENT]
        rows = connection.exec_driver_sql(_values_sql(len(some)), (campaign, *some))
        found.update((sequence, outcome) for sequence, outcome in rows)


@cache
def _values_sql(keys: int) -> str:
    marks = ", ".join("?" * keys)
    return (
        "SELECT sequence, outcome FROM results"  # noqa: S608 - no input
        f" WHERE campaign = ? AND sequence IN ({marks})"
    )
