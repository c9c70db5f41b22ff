"""The lines of ``closeout results``: results, messages without one, or their ranges.

A line has what the status service knows of a message, and its recipient. It is a row of a
table, values with tabs between, CSV or JSON.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from google.protobuf.json_format import MessageToDict

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import say
from closeout_cli.tables import READABLE, Column, shortened, tab_separated
from closeout_cli.words import enum_name, rfc3339, short_clock

if TYPE_CHECKING:
    from _csv import Writer as CsvWriter
    from collections.abc import Callable, Sequence

    from closeout.sender.v1.sender_pb2 import RecipientEntry

_RECIPIENT = ("recipient_key", "address")
_RESULT = ("outcome", "attempt", "code", "detail", "provider_message_id", "finish_time")
#: What a terminal shows. docs/command-line.md lists the order in which columns go.
_COLUMNS = {
    "sequence": Column("Message", right=True),
    "outcome": Column("Outcome"),
    "attempt": Column("Tries", right=True, drop=3),
    "code": Column("Code", drop=1),
    "address": Column("Recipient", shrink=True),
    "recipient_key": Column("Key", drop=4),
    "finish_time": Column("Time", drop=5),
    "detail": Column("Detail", drop=2, shrink=True, below=True),
    "first": Column("First", right=True),
    "last": Column("Last", right=True),
    "messages": Column("Messages", right=True),
}
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        item: a result, one that has a sequence only where there is none, or a range.
        recipient: who the message goes to; None: not asked, or not known.
    """

    item: pb.Result | pb.SequenceRange
    recipient: RecipientEntry | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What the lines are about.

    Attributes:
        missing: messages without a result, instead of results.
        recipients: who they go to; without, missing messages are ranges.
        fields: what the templates had of the recipients too.
    """

    missing: bool
    recipients: bool
    fields: bool = False

    @property
    def noun(self) -> str:
        """What the lines are, for people."""
        if not self.missing:
            return "results"
        return "messages" if self.recipients else "ranges"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the values of a line."""
        if self.missing and not self.recipients:
            return ("first", "last")
        recipient = _RECIPIENT if self.recipients else ()
        return ("sequence", *recipient, *(() if self.missing else _RESULT))

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns of a table for people, in order."""
        if self.missing and not self.recipients:
            return ("first", "last", "messages")
        recipient = ("address", "recipient_key") if self.recipients else ()
        if self.missing:
            return ("sequence", *recipient)
        return ("sequence", "outcome", "attempt", "code", *recipient, "finish_time", "detail")


def writer(
    file: TextIO, form: Form, *, as_csv: bool, as_json: bool
) -> Callable[[Sequence[Line]], None]:
    """Return what writes lines into ``file``; the head of a CSV is written in any case.

    Neither CSV nor JSON: a table on a terminal, elsewhere lines with tabs between values.
    """
    if as_json:
        return lambda lines: file.writelines(f"{_json(line, form)}\n" for line in lines)
    if as_csv and form.fields:
        return _WithFields(file, form).write
    if as_csv:
        rows = csv_writer(file)
        rows.writerow(form.columns)
        return lambda lines: rows.writerows(
            [safe_cell(_value(line, column)) for column in form.columns] for line in lines
        )
    if file is sys.stdout and screen.on_terminal():
        return _Screen(form).write
    return lambda lines: file.writelines(
        f"{tab_separated(_value(line, column) for column in form.columns)}\n" for line in lines
    )


def csv_writer(file: TextIO) -> CsvWriter:
    """Return a writer of lines that end as RFC 4180 says, which spreadsheets and programs read.

    With both signs as the end of a line, a cell that has either of them is quoted.
    """
    return csv.writer(file, lineterminator="\r\n")


class _WithFields:
    """Rows of a CSV with the fields of the recipients, which the first rows name."""

    def __init__(self, file: TextIO, form: Form) -> None:
        self._rows = csv_writer(file)
        self._form = form
        self._names: list[str] | None = None
        self._left_out: set[str] = set()

    def write(self, lines: Sequence[Line]) -> None:
        rows = [(line, fields_of(line)) for line in lines]
        if self._names is None:
            self._names = sorted({name for _, fields in rows for name in fields})
            taken = self._form.columns
            heads = [f"fields.{name}" if name in taken else name for name in self._names]
            self._rows.writerow([safe_cell(head) for head in [*taken, *heads]])
        for line, fields in rows:
            values = [_value(line, column) for column in self._form.columns]
            values += [_field_text(fields.get(name, "")) for name in self._names]
            self._rows.writerow([safe_cell(value) for value in values])
            for name in fields.keys() - {*self._names} - self._left_out:
                self._left_out.add(name)
                say(f"the field {name} is left out: no earlier message has it; use --json")


def fields_of(line: Line) -> dict[str, Any]:
    """Return what the templates had of the recipient, whole numbers as ``int``."""
    if line.recipient is None:
        return {}
    return {name: _plain(value) for name, value in MessageToDict(line.recipient.fields).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _field_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Screen:
    """The lines as a table, whose columns the first lines decide."""

    def __init__(self, form: Form) -> None:
        self._columns = [(name, _COLUMNS[name]) for name in form.shown]
        self._table: screen.TableWriter | None = None

    def write(self, lines: Sequence[Line]) -> None:
        rows = [[_shown(line, name) for name, _ in self._columns] for line in lines]
        if self._table is None:
            self._table = screen.TableWriter([column for _, column in self._columns], rows)
        self._table.write(rows)


def _shown(line: Line, column: str) -> str:
    item = line.item
    if column == "messages" and isinstance(item, pb.SequenceRange):
        return f"{item.last - item.first + 1:,}"
    if column == "finish_time" and isinstance(item, pb.Result):
        return short_clock(item.finish_time) if item.HasField("finish_time") else ""
    text = " ".join(_value(line, column).split())
    if column == "detail" and isinstance(item, pb.Result) and item.outcome == pb.Result.SENT:
        return shortened(text, READABLE)  # nobody asks why it was sent
    return text


def _json(line: Line, form: Form) -> str:
    item = screen.as_dict(line.item)
    values = {
        column: _of_recipient(line, column) if column in _RECIPIENT else item[column]
        for column in form.columns
        if column in _RECIPIENT or column in item
    }
    if form.fields:
        values["fields"] = fields_of(line) if line.recipient else None
    return screen.json_text(values)


def _of_recipient(line: Line, column: str) -> str | None:
    return getattr(line.recipient, column) if line.recipient else None


def _value(line: Line, column: str) -> str:
    if column in _RECIPIENT:
        return _of_recipient(line, column) or ""
    if column == "finish_time" and isinstance(line.item, pb.Result):
        return rfc3339(line.item, "finish_time")
    value: Any = getattr(line.item, column)
    return enum_name(pb.Result.Outcome, value) if column == "outcome" else str(value)


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def range_text(found: pb.SequenceRange) -> str:
    """Return a range of sequences as people write it."""
    return str(found.first) if found.first == found.last else f"{found.first}-{found.last}"
