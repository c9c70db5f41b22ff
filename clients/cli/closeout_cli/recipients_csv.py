"""A recipients file in CSV: separator, header, and rows with the lines they end on."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.recipients_columns import Columns, ColumnsError, looks_like_recipient, understood

if TYPE_CHECKING:
    from collections.abc import Iterator

    from closeout_cli.recipients_source import RecipientsSource

#: What may stand between cells.
DELIMITERS = ",;\t|"
#: What one recipient weighs at most, characters.
MAX_CHARACTERS = 64 * 1024


@dataclass(frozen=True)
class CsvRecipients:
    """The recipients of a CSV file, in order, each with the line that it ends on.

    Attributes:
        source: the file.
        columns: what its columns mean.
        delimiter: what stands between cells.
        passed: how many lines stand above the header: 1 for Excel's ``sep=;``.
    """

    source: RecipientsSource
    columns: Columns
    delimiter: str
    passed: int

    def __iter__(self) -> Iterator[tuple[int, pb.Recipient]]:
        """Yield the recipients that :func:`read_csv` has checked."""
        for line, cells in self._rows():
            yield line, self._recipient(cells)

    def addresses(self) -> Iterator[tuple[int, str]]:
        """Yield the addresses alone, which is faster."""
        for line, cells in self._rows():
            yield line, cells[self.columns.address]

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        width = len(self.columns.headings)
        for line, cells in _rows(self.source, self.delimiter, self.passed):
            # Excel leaves out empty cells at the end of a row.
            cells.extend([""] * (width - len(cells)))
            yield line, cells

    def _recipient(self, cells: list[str]) -> pb.Recipient:
        columns = self.columns
        recipient = pb.Recipient(
            address=cells[columns.address],
            recipient_key=cells[columns.key] if columns.key is not None else "",
        )
        fields = recipient.fields.fields
        # Cells behind the last heading are empty.
        for field, cell in zip(columns.fields, cells, strict=False):
            # An empty cell is no value: a condition of a template is false on it.
            if cell and field:
                fields[field].string_value = cell
        return recipient


def read_csv(source: RecipientsSource, address_column: str = "") -> CsvRecipients:
    """Read a CSV file to its end and check every row.

    Raises:
        CommandError: it has no address column, or a row is broken; the text names the line.
    """
    delimiter, passed = _layout(source)
    headings, unnamed = _header(source, delimiter, passed)
    try:
        columns = understood(headings, address_column)
    except ColumnsError as error:
        raise source.wrong(str(error)) from error
    for line, cells in _rows(source, delimiter, passed):
        _check(source, line, cells, len(headings), unnamed)
    return CsvRecipients(source, columns, delimiter, passed)


def _layout(source: RecipientsSource) -> tuple[str, int]:
    """Return the separator, and how many lines stand above the header."""
    with source.text() as file:
        first = file.readline()
    named = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
    if named is not None:
        if named[1] not in DELIMITERS:
            raise source.wrong(
                f"its first line names the separator {named[1]!r}; use comma, semicolon, tab or |"
            )
        return named[1], 1
    bare = re.sub(r'"[^"]*"', "", first)
    return max(DELIMITERS, key=bare.count), 0


def _header(source: RecipientsSource, delimiter: str, passed: int) -> tuple[tuple[str, ...], int]:
    """Return the headings, and how many columns behind them have none."""
    with source.text() as file:
        reader = csv.reader(islice(file, passed, None), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise source.wrong(f"line {(reader.line_num or 1) + passed}: {error}") from error
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise source.wrong("empty; its first line must name the columns")
    if looks_like_recipient(names):
        return tuple(names), 0  # there is no header: one error says so, whatever else is odd
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name:
            raise source.wrong(f"column {number} has no name")
        if name in seen:
            raise source.wrong(f"two columns are named {name!r}")
        seen.add(name)
    return tuple(names), len(header) - len(names)


def _check(source: RecipientsSource, line: int, cells: list[str], width: int, unnamed: int) -> None:
    beyond = [index for index, cell in enumerate(cells) if index >= width and cell.strip()]
    if beyond and beyond[0] >= width + unnamed:
        raise source.wrong(
            f"line {line} has {len(cells)} cells where the header has {width};"
            " a cell with a separator or a quote in it needs quotes around it"
        )
    if beyond:
        raise source.wrong(
            f"line {line} has a value in column {beyond[0] + 1}, which has no name in the header"
        )
    if any("\0" in cell for cell in cells):
        raise source.wrong(f"line {line} has a NUL character; save it as CSV in UTF-8")
    if sum(map(len, cells)) > MAX_CHARACTERS:
        raise source.wrong(f"line {line} is too long for one recipient")


def _rows(source: RecipientsSource, delimiter: str, passed: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header with the number of their last line; blank ones are none."""
    with source.text() as file:
        reader = csv.reader(islice(file, passed, None), delimiter=delimiter, strict=True)
        try:
            next(reader, None)
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield reader.line_num + passed, cells
        except csv.Error as error:
            raise source.wrong(f"line {reader.line_num + passed}: {error}") from error
