"""What became of the rows of a recipients file: counts, and the first reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from closeout_cli import screen
from closeout_cli.words import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from closeout.sender.v1 import sender_pb2 as pb
    from closeout_cli.recipients_file import RecipientsFile

#: So many reasons of rows that were not accepted are shown.
SHOWN_REASONS = 5


@dataclass(frozen=True)
class Rejected:
    """A row that becomes no message.

    Attributes:
        line: the line of the file that it ends on; 0: not known.
        address: as the file has it.
        reason: why, for people.
    """

    line: int
    address: str
    reason: str

    def __str__(self) -> str:
        if not self.address.strip():
            return f"line {self.line}: no address"
        return f"line {self.line}: {self.address}: {self.reason}"


@dataclass(frozen=True)
class AudienceSummary:
    """How many rows of a file become messages.

    Attributes:
        name: the file.
        rows: its rows.
        accepted: rows that become messages.
        duplicate: rows whose address came before.
        invalid: rows whose address can't be used.
        rejected: the first rows that become none, in the order of the file.
    """

    name: str
    rows: int
    accepted: int
    duplicate: int
    invalid: int
    rejected: tuple[Rejected, ...]

    @classmethod
    def of_upload(
        cls, audience: RecipientsFile, uploaded: pb.UploadRecipientsResponse
    ) -> AudienceSummary:
        """Return what became of an upload, and of the rows that were left out of it."""
        lines = audience.lines({rejected.row for rejected in uploaded.rejected_rows})
        rejected = [
            Rejected(lines.get(row.row, 0), row.address, row.reason)
            for row in uploaded.rejected_rows
        ]
        return cls(
            audience.name,
            audience.rows,
            uploaded.accepted,
            uploaded.duplicate + len(audience.repeated),
            uploaded.invalid,
            first_reasons([*rejected, *repeated_rows(audience)]),
        )

    def lines(self) -> list[str]:
        """Return the summary for people: the counts, and below them the first reasons."""
        counts = (
            f"{number(self.rows, 'row')}, {self.accepted:,} accepted,"
            f" {self.duplicate:,} duplicate, {self.invalid:,} invalid"
        )
        shown = [f"{self.name}: {counts}", *(f"  {rejected}" for rejected in self.rejected)]
        more = self.duplicate + self.invalid - len(self.rejected)
        if self.rejected and more > 0:
            shown.append(f"  and {more:,} more")
        return shown

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON has it."""
        return {
            "rows": self.rows,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "invalid": self.invalid,
            "rejected_rows": [
                {"line": row.line, "address": row.address, "reason": row.reason}
                for row in self.rejected
            ],
        }

    def show(self) -> None:
        """Print the summary for people."""
        for text in self.lines():
            screen.line(text)


def repeated_rows(audience: RecipientsFile) -> list[Rejected]:
    """Return the first rows that were left out, as their addresses differ in case alone."""
    rows = dict(list(audience.repeated.items())[:SHOWN_REASONS])
    if not rows:
        return []
    found = []
    for row, (line, address) in enumerate(audience.records.addresses()):
        if row in rows:
            reason = f"the address of line {rows[row]} in other letter case"
            found.append(Rejected(line, address, reason))
        if len(found) == len(rows):
            break
    return found


def first_reasons(rejected: Iterable[Rejected]) -> tuple[Rejected, ...]:
    """Return the first rows of some, as many as are shown, in the order of the file."""
    return tuple(sorted(rejected, key=lambda row: row.line)[:SHOWN_REASONS])
