"""The recipients file: CSV with a header, or JSON Lines, with an address and fields.

The whole file is read once before anything is sent, so that a broken row at its end
is found before the first message goes out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from closeout.aio.sender import MAX_BATCH
from closeout_cli.recipients_csv import CsvRecipients, read_csv
from closeout_cli.recipients_jsonl import JsonRecipients, read_jsonl
from closeout_cli.recipients_source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from closeout.sender.v1 import sender_pb2 as pb
    from closeout_cli.recipients_source import RecipientsSource

#: What a batch weighs at most, bytes; a message of the stream takes 4 MiB.
_MAX_BATCH_BYTES = 1024 * 1024
_JSON_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class RecipientsFile:
    """A recipients file that was read to its end and found in order.

    Attributes:
        source: the file.
        records: its recipients, in order, each with its line.
        rows: how many recipients it has, those in ``repeated`` included.
        digest: of its bytes and of what they mean; 32 hexadecimal digits.
        repeated: rows (from 0) that are left out, as their addresses differ from those
            of earlier rows in nothing but case, with the lines of those.
    """

    source: RecipientsSource
    records: CsvRecipients | JsonRecipients
    rows: int
    digest: str
    repeated: Mapping[int, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call the file."""
        return self.source.shown

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings."""
        return self.records.columns.headings

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that templates can use, beside address and recipient_key."""
        return tuple(name for name in self.records.columns.fields if name)

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know about how the file was read."""
        names = self.records.columns.notice
        return tuple(
            text for text in (self.source.notice, f"{self.name}: {names}" if names else "") if text
        )

    def recipients(self) -> Iterator[tuple[int, pb.Recipient]]:
        """Yield the recipients in order, without the repeated ones, with their lines."""
        for row, (line, recipient) in enumerate(self.records):
            if row not in self.repeated:
                yield line, recipient

    def batches(
        self, progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[list[pb.Recipient]]:
        """Yield the recipients in order, in batches that fit a message.

        Args:
            progress: called with the number of rows of each batch once it is taken.
        """
        batch: list[pb.Recipient] = []
        weight = 0
        for _, recipient in self.recipients():
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
        """Return the line on which each of ``rows`` ends; they count as in the batches, from 0."""
        found: dict[int, int] = {}
        for number, (line, _) in enumerate(self.recipients()):
            if number in rows:
                found[number] = line
            if len(found) == len(rows):
                break
        return found


def read_recipients_file(
    path: Path,
    *,
    address_column: str = "",
    encoding: str = "",
    kind: str = "",
    keep_case_duplicates: bool = False,
) -> RecipientsFile:
    """Read a recipients file to its end.

    Args:
        path: the file; ``-`` is standard input.
        address_column: the heading of the column with the address; by default the one
            that is called address, email, e-mail address or the like.
        encoding: its encoding; by default UTF-8 or what it looks like.
        kind: ``csv`` or ``jsonl``; by default what its name ends with.
        keep_case_duplicates: whether addresses equal but for case are several recipients.

    Raises:
        CommandError: it can't be read, has no address column, or a row is broken.
    """
    source = open_source(path, encoding)
    json_lines = kind == "jsonl" or (not kind and path.suffix.lower() in _JSON_SUFFIXES)
    records = read_jsonl(source, address_column) if json_lines else read_csv(source, address_column)
    rows, mixed = _counted(records)
    repeated = _repeated(records, mixed) if mixed and not keep_case_duplicates else {}
    digest = source.digest()
    digest.update(records.columns.headings[records.columns.address].encode())
    # The rows of an upload count without those left out.
    if keep_case_duplicates:
        digest.update(b"case")
    if source.encoding != "utf-8-sig":
        digest.update(source.encoding.encode())
    return RecipientsFile(source, records, rows, digest.hexdigest()[:32], repeated)


def _counted(records: CsvRecipients | JsonRecipients) -> tuple[int, set[str]]:
    """Return how many recipients there are, and the addresses with capitals in lower case."""
    rows = 0
    mixed: set[str] = set()
    for _, text in records.addresses():
        rows += 1
        address = text.strip()
        lower = address.casefold()
        if lower != address and "@" in address:
            mixed.add(lower)
    return rows, mixed


def _repeated(records: CsvRecipients | JsonRecipients, mixed: Collection[str]) -> dict[int, int]:
    """Return the rows whose address differs from an earlier one in nothing but case.

    Those with the same spelling are left to the service, which counts them as duplicates.
    """
    first: dict[str, tuple[str, int]] = {}
    repeated: dict[int, int] = {}
    for row, (line, text) in enumerate(records.addresses()):
        address = text.strip()
        lower = address.casefold()
        if lower not in mixed:
            continue
        spelling, at = first.setdefault(lower, (address, line))
        if spelling != address:
            repeated[row] = at
    return repeated
