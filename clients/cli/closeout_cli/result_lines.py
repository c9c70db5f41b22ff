"""The lines of ``closeout results``: results, messages without one, or their ranges.

A line has what the status service knows of a message, and its recipient. It is plain
text, CSV or JSON.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.words import clock, enum_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from closeout.sender.v1.sender_pb2 import RecipientEntry

_RECIPIENT = ("recipient_key", "address")
_RESULT = ("outcome", "attempt", "code", "detail", "provider_message_id", "finish_time")
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
#: Recipients up to this length stand in a column.
_RECIPIENT_WIDTH = 48


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
    """

    missing: bool
    recipients: bool

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


def writer(
    file: TextIO, form: Form, *, as_csv: bool, as_json: bool
) -> Callable[[Sequence[Line]], None]:
    """Return what writes lines into ``file``; the head of a CSV is written at once."""
    if as_json:
        return lambda lines: file.writelines(f"{_json(line, form)}\n" for line in lines)
    if as_csv:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(form.columns)
        return lambda lines: rows.writerows(
            [_cell(line, column) for column in form.columns] for line in lines
        )
    return lambda lines: file.writelines(f"{text}\n" for text in _plain(lines, form))


def _json(line: Line, form: Form) -> str:
    item = screen.as_dict(line.item)
    values = {
        column: _of_recipient(line, column) if column in _RECIPIENT else item[column]
        for column in form.columns
        if column in _RECIPIENT or column in item
    }
    return json.dumps(values, ensure_ascii=False)


def _of_recipient(line: Line, column: str) -> str | None:
    return getattr(line.recipient, column) if line.recipient else None


def _cell(line: Line, column: str) -> str:
    if column in _RECIPIENT:
        return safe_cell(_of_recipient(line, column) or "")
    item = line.item
    if column == "finish_time" and isinstance(item, pb.Result):
        return item.finish_time.ToJsonString() if item.HasField("finish_time") else ""
    value: Any = getattr(item, column)
    if column == "outcome":
        return enum_name(pb.Result.Outcome, value)
    return safe_cell(value) if isinstance(value, str) else str(value)


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(lines: Sequence[Line], form: Form) -> list[str]:
    recipients = [_recipient_text(line) if form.recipients else "" for line in lines]
    width = min(max(map(len, recipients), default=0), _RECIPIENT_WIDTH)
    return [
        screen.printable(_text(line.item, f"{recipient:<{width}}  " if form.recipients else ""))
        for line, recipient in zip(lines, recipients, strict=True)
    ]


def _recipient_text(line: Line) -> str:
    if line.recipient is None:
        return "-"
    key = f" key={line.recipient.recipient_key}" if line.recipient.recipient_key else ""
    return f"{line.recipient.address}{key}"


def _text(item: pb.Result | pb.SequenceRange, recipient: str) -> str:
    if isinstance(item, pb.SequenceRange):
        return range_text(item)
    if not item.outcome:
        return f"{item.sequence:>9}  {recipient}".rstrip()
    time = clock(item.finish_time) if item.HasField("finish_time") else "-"
    return (
        f"{item.sequence:>9}  {enum_name(pb.Result.Outcome, item.outcome):<7}"
        f"  attempt={item.attempt}  {item.code or '-':<5}  {time}"
        f"  {recipient}{' '.join(item.detail.split())}"
    ).rstrip()


def range_text(found: pb.SequenceRange) -> str:
    """Return a range of sequences as people write it."""
    return str(found.first) if found.first == found.last else f"{found.first}-{found.last}"
