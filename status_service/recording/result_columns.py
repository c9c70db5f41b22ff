"""The results of a frame, column by column.

What is done with every result there is, is done with a column in one call that loops
in C: a loop in Python costs more than to store the results.
"""

from __future__ import annotations

from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: No text has it: a request with one is refused.
_NUL = "\x00"
#: What separates the lines and the fields of COPY, and what says so; the last one first.
_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
#: One result, its fields in the order of the columns.
ResultRow: TypeAlias = tuple[int, int, int, str, str, str, int | None]


class _Columns(NamedTuple):
    sequence: Sequence[int]
    outcome: Sequence[int]
    attempt: Sequence[int]
    code: Sequence[str]
    detail: Sequence[str]
    provider_message_id: Sequence[str]
    finish_time: Sequence[int | None]


class ResultColumns(_Columns):
    """Results of one campaign; a result is at the same place in each column.

    The columns are those of the table ``results``, but for the two that are the same
    for all: ``outcome`` by its number, ``finish_time`` in microseconds since 1970 or None.
    """

    @classmethod
    def of(cls, rows: Iterable[ResultRow]) -> ResultColumns:
        """Return rows as columns."""
        columns = tuple(zip(*rows, strict=True))
        return cls(*columns) if columns else NO_RESULTS

    @property
    def size(self) -> int:
        """How many results there are."""
        return len(self.sequence)

    def rows(self) -> Iterable[ResultRow]:
        """Return them result by result."""
        return zip(*self, strict=True)

    def make_lines(self) -> None:
        """Make :attr:`lines` now: that takes as long as all else that is done with results."""
        _ = self.lines

    @property
    def has_lines(self) -> bool:
        """Whether :attr:`lines` is made."""
        return "lines" in vars(self)

    @cached_property
    def lines(self) -> str:
        """The results as COPY of PostgreSQL takes them, a line each but for the last line's end."""
        columns = (
            _in_lines(self.sequence),
            _in_lines(self.outcome),
            _in_lines(self.attempt),
            _escaped(self.code),
            _escaped(self.detail),
            _escaped(self.provider_message_id),
            _in_lines(self.finish_time),
        )
        return "\n".join(map("\t".join, zip(*columns, strict=False)))  # some never end

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """The columns as PostgreSQL takes them: what stands between the braces of an array."""
        return (
            integers(self.sequence),
            integers(self.outcome),
            integers(self.attempt),
            texts(self.code),
            texts(self.detail),
            texts(self.provider_message_id),
            integers(self.finish_time),
        )


NO_RESULTS = ResultColumns((), (), (), (), (), (), ())


def _in_lines(values: Sequence[int | None]) -> Iterable[str]:
    """Return integers as COPY takes them, None as NULL; for ever, if all are the same."""
    if len(set(values)) == 1:  # as outcomes and attempts often are
        return repeat("\\N" if values[0] is None else str(values[0]))
    return ("\\N" if value is None else str(value) for value in values)


def _escaped(values: Iterable[str]) -> Sequence[str]:
    """Return texts as COPY takes them; none of them has a NUL character."""
    joined = _NUL.join(values)
    for character, escape in _ESCAPES:
        joined = joined.replace(character, escape)
    return joined.split(_NUL)


def array(parts: Iterable[str]) -> str:
    """Return the literal of an array of what :func:`integers` or :func:`texts` returned."""
    return "{" + ",".join(parts) + "}"


def integers(values: Sequence[int | None]) -> str:
    """Return the elements of an array of integers, None as NULL."""
    if len(set(values)) == 1:  # as outcomes and attempts often are
        return ",".join([str(values[0])] * len(values)).replace("None", "NULL")
    return ",".join(map(str, values)).replace("None", "NULL")


def texts(values: Iterable[str]) -> str:
    """Return the elements of an array of texts; none of them has a NUL character."""
    joined = _NUL.join(values).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + joined.replace(_NUL, '","') + '"'
