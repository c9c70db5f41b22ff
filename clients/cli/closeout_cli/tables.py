"""Tables that fit the terminal and never break an id; pure text.

A table that is too wide first shortens the texts that may be shortened, to a readable
rest, then loses columns, those with the highest ``drop`` first. What is left shares the
space. The first column is always shown, and a first cell that is longer than three
eighths of the width has a line of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_GAP = 2
#: Texts are not shortened below this, columns.
READABLE = 16


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        heading: its name for people.
        right: numbers stand at the right.
        drop: 0: always shown; the column with the highest number goes first.
        shrink: its texts may be shortened, with an ellipsis.
        below: with ``shrink``: a text that does not fit stands below its row instead.
    """

    heading: str
    right: bool = False
    drop: int = 0
    shrink: bool = False
    below: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are shown, and how wide each is.

    Attributes:
        columns: all columns.
        widths: the width of each column that is shown, by its number, in order.
    """

    columns: tuple[Column, ...]
    widths: dict[int, int]

    def heading(self) -> list[str]:
        """Return the cells of the heading, padded."""
        return self._padded([column.heading for column in self.columns])

    def split(self, row: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return a row without the texts that go below it, and these."""
        kept, below = list(row), []
        for number, column in enumerate(self.columns):
            if column.below and row[number] and cell_len(row[number]) > self.widths.get(number, 0):
                below.append(row[number])
                kept[number] = ""
        return kept, below

    def lines(self, row: Sequence[str]) -> Iterator[list[str]]:
        """Yield the lines of a row: padded cells, of which the last has no padding."""
        if cell_len(row[0]) > self.widths[0]:
            yield [row[0]]
            row = ["", *row[1:]]
        yield self._padded(row)

    def _padded(self, row: Sequence[str]) -> list[str]:
        cells = []
        last = next(reversed(self.widths))
        for number, width in self.widths.items():
            column, text = self.columns[number], row[number]
            if column.shrink:
                text = shortened(text, width)
            padding = " " * max(width - cell_len(text), 0)
            if column.right:
                cells.append(padding + text)
            else:
                cells.append(text if number == last else text + padding)
        return cells


def fitted(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> Layout:
    """Return the layout with which the rows fit into ``width`` columns.

    Columns without any text are left out.
    """
    natural = dict.fromkeys(range(len(columns)), 0)
    longest = max(width * 3 // 8, READABLE)
    for row in rows:
        for number, text in enumerate(row):
            size = cell_len(text)
            if number or size <= longest:
                natural[number] = max(natural[number], size)
    shown = {
        number: max(size, cell_len(columns[number].heading))
        for number, size in natural.items()
        if size or not columns[number].drop
    }
    shown = _dropped(columns, shown, width)
    return Layout(tuple(columns), _shared(columns, shown, width))


def _dropped(columns: Sequence[Column], widths: dict[int, int], width: int) -> dict[int, int]:
    shown = dict(widths)
    while _total(_least(columns, shown)) > width:
        droppable = [number for number in shown if columns[number].drop]
        if not droppable:
            break
        del shown[max(droppable, key=lambda number: columns[number].drop)]
    return shown


def _least(columns: Sequence[Column], widths: dict[int, int]) -> dict[int, int]:
    return {
        number: min(size, READABLE) if columns[number].shrink else size
        for number, size in widths.items()
    }


def _shared(columns: Sequence[Column], widths: dict[int, int], width: int) -> dict[int, int]:
    """Give the space that is left to the texts that want more, in order."""
    shared = _least(columns, widths)
    for number, wanted in widths.items():
        spare = max(width - _total(shared), 0)
        shared[number] += min(wanted - shared[number], spare)
    return shared


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def shortened(text: str, width: int) -> str:
    """Return the text in at most ``width`` columns, with an ellipsis where it is cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def tab_separated(values: Iterable[object]) -> str:
    r"""Return values as one line with tabs between, for programs.

    Nothing is empty. A backslash, a tab and the ends of lines are ``\\``, ``\t``, ``\n``
    and ``\r``; other signs that can't be seen are spaces.
    """
    return "\t".join("" if value is None else _escaped(str(value)) for value in values)


def _escaped(text: str) -> str:
    for sign, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(sign, escape)
    return "".join(sign if sign.isprintable() else " " for sign in text)
