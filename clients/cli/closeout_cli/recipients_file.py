"""The recipients file: CSV with a header, an address column, and fields for templates.

The whole file is read once before anything is sent, so that a broken row at its end
is found before the first message goes out.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from closeout.aio.sender import MAX_BATCH
from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

#: Columns that may hold the address, and the caller's id of a recipient.
ADDRESS_COLUMNS = ("address", "email")
KEY_COLUMNS = ("recipient_key", "id")
#: What a batch weighs at most, bytes; a message of the stream takes 4 MiB.
_MAX_BATCH_BYTES = 1024 * 1024
#: What one recipient weighs at most, bytes.
_MAX_RECIPIENT_BYTES = 256 * 1024
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class RecipientsFile:
    """A recipients file that was read to its end and found in order.

    Attributes:
        path: where it is.
        columns: the headings.
        address_column: the index of the column with the address.
        key_column: the index of the column with the caller's id, if there is one.
        delimiter: what stands between cells.
        rows: how many recipients it has.
        digest: of its bytes and of what its columns mean; 32 hexadecimal digits.
    """

    path: Path
    columns: tuple[str, ...]
    address_column: int
    key_column: int | None
    delimiter: str
    rows: int
    digest: str

    def batches(
        self, progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[list[pb.Recipient]]:
        """Yield the recipients in order, in batches that fit a message.

        Args:
            progress: called with the number of rows of each batch once it is taken.
        """
        batch: list[pb.Recipient] = []
        weight = 0
        for _, cells in _rows(self.path, self.delimiter):
            recipient = self._recipient(cells)
            size = recipient.ByteSize()
            if batch and (len(batch) == MAX_BATCH or weight + size > _MAX_BATCH_BYTES):
                yield batch
                progress(len(batch))
                batch, weight = [], 0
            batch.append(recipient)
            weight += size
        if batch:
            yield batch
            progress(len(batch))

    def lines(self, rows: Collection[int]) -> dict[int, int]:
        """Return the line of the file on which each of ``rows`` (from 0) ends."""
        found: dict[int, int] = {}
        for number, (line, _) in enumerate(_rows(self.path, self.delimiter)):
            if number in rows:
                found[number] = line
            if len(found) == len(rows):
                break
        return found

    def _recipient(self, cells: list[str]) -> pb.Recipient:
        recipient = pb.Recipient(
            address=cells[self.address_column],
            recipient_key=cells[self.key_column] if self.key_column is not None else "",
        )
        for index, (column, cell) in enumerate(zip(self.columns, cells, strict=True)):
            # An empty cell is no value: a condition of a template is false on it.
            if cell and index not in (self.address_column, self.key_column):
                recipient.fields.fields[column].string_value = cell
        return recipient


def read_recipients_file(path: Path, *, address_column: str | None = None) -> RecipientsFile:
    """Read a recipients file to its end.

    Args:
        path: the file.
        address_column: the heading of the column with the address; by default
            ``address`` or ``email``.

    Raises:
        CommandError: it can't be read, has no address column, or a row is broken.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        delimiter = _delimiter(path)
        columns, rows = _inspect(path, delimiter)
    except UnicodeDecodeError as error:
        raise _wrong(path, f"not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except OSError as error:
        raise _wrong(path, str(error.strerror)) from error
    address = _address_column(path, columns, address_column)
    digest.update(columns[address].encode())
    key = next(
        (i for i, name in enumerate(columns) if name.lower() in KEY_COLUMNS and i != address), None
    )
    return RecipientsFile(path, columns, address, key, delimiter, rows, digest.hexdigest()[:32])


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    return max(_DELIMITERS, key=header.count)


def _inspect(path: Path, delimiter: str) -> tuple[tuple[str, ...], int]:
    columns = _columns(path, delimiter)
    rows = 0
    for line, cells in _rows(path, delimiter):
        rows += 1
        if len(cells) != len(columns):
            raise _wrong(
                path,
                f"line {line} has {len(cells)} cells where the header has {len(columns)};"
                " a cell with a comma or a quote in it needs quotes around it",
            )
        if any("\0" in cell for cell in cells):
            raise _wrong(path, f"line {line} has a NUL character; save it as CSV in UTF-8")
        if sum(map(len, cells)) > _MAX_RECIPIENT_BYTES // 4:
            raise _wrong(path, f"line {line} is too long for one recipient")
    return columns, rows


def _columns(path: Path, delimiter: str) -> tuple[str, ...]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise _wrong(path, f"line {reader.line_num or 1}: {error}") from error
    columns = tuple(name.strip() for name in header)
    if not columns:
        raise _wrong(path, "empty; its first line must name the columns")
    seen: set[str] = set()
    for number, name in enumerate(columns, 1):
        if not name:
            raise _wrong(path, f"column {number} has no name")
        if name in seen:
            raise _wrong(path, f"two columns are named {name!r}")
        seen.add(name)
    return columns


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header with the number of their last line; blank ones are none."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            next(reader, None)
            for cells in reader:
                if any(cells):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise _wrong(path, f"line {reader.line_num}: {error}") from error


def _address_column(path: Path, columns: tuple[str, ...], requested: str | None) -> int:
    names = [name.lower() for name in columns]
    listed = ", ".join(columns)
    if requested is not None:
        if requested.lower() not in names:
            raise _wrong(path, f"no column {requested!r}; its columns are {listed}")
        return names.index(requested.lower())
    found = [name for name in ADDRESS_COLUMNS if name in names]
    if not found:
        raise _wrong(
            path,
            f"no column 'address' or 'email'; its columns are {listed}."
            " Rename one, or name it with --address-column",
        )
    if len(found) > 1:
        raise _wrong(path, "both 'address' and 'email' are columns; choose with --address-column")
    return names.index(found[0])


def _wrong(path: Path, message: str) -> CommandError:
    return CommandError(f"{path}: {message}", exit_code=USAGE)
