"""What a command prints: tables on a terminal, plain lines elsewhere, JSON on demand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from closeout_cli import output_mode
from closeout_cli.tables import fitted, tab_separated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message
    from rich.console import RenderableType

    from closeout_cli.tables import Column

_LONG = {
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
}
_FIRST_COLUMN_MIN = 14
#: The names of facts stand in so many columns.
_NAME_WIDTH = 15
_BELOW_INDENT = 2
#: How a state, an outcome or a diagnosis looks on a terminal.
STYLES = {
    "COMPLETED": "green",
    "SENT": "green",
    "SENDING": "cyan",
    "IN_PROGRESS": "cyan",
    "PAUSED": "yellow",
    "SCHEDULED": "blue",
    "UNKNOWN": "yellow",
    "FAILED": "red",
    "CANCELLED": "red",
    "STALLED": "bold red",
    "NEVER_STARTED": "bold red",
    "FULLY_PROCESSED": "bold yellow",
    "COUNTER_DRIFT": "bold yellow",
}


def console() -> Console:
    """Return standard output; without a terminal it prints no control codes."""
    return Console(highlight=False, soft_wrap=True, emoji=False)


def on_terminal() -> bool:
    """Return whether a person looks at standard output, and it can move the cursor.

    FORCE_COLOR, which makes everything a terminal for some libraries, does not change
    what programs read from a pipe.
    """
    return sys.stdout.isatty() and not console().is_dumb_terminal


def line(text: str) -> None:
    """Print one plain line at once, so that whoever reads a pipe sees it now.

    What users and providers wrote can't move the cursor or begin another line.
    With ``--json`` it is an object, ``{"message"}``: a command that has an answer in
    JSON prints that instead.
    """
    if output_mode.as_json():
        print_json({"message": text})
        return
    _write(printable(text))


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """Return the text with a space for everything that is not a visible sign."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def styled(text: str) -> str:
    """Return a state or the like with its colour, as markup."""
    style = STYLES.get(text)
    return f"[{style}]{text}[/]" if style else text


def plain(text: str) -> str:
    """Return a text of a user's, in which nothing is markup or moves the cursor."""
    return escape(printable(text))


def show(renderable: RenderableType) -> None:
    """Print a table or another rich thing, within the width of the terminal."""
    console().print(renderable, soft_wrap=False)


def table(*columns: tuple[str, str]) -> Table:
    """Return an empty table whose first column gives way when the terminal is narrow.

    Args:
        columns: heading and alignment, ``left`` or ``right``.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1), header_style="bold")
    for number, (heading, justify) in enumerate(columns):
        made.add_column(
            heading,
            justify="right" if justify == "right" else "left",
            overflow="fold",
            no_wrap=number > 0,
            min_width=None if number else _FIRST_COLUMN_MIN,
        )
    return made


def width() -> int:
    """Return how many columns the terminal has."""
    return console().width


def row(*values: object) -> None:
    """Print values as one line with tabs between, for programs; see ``tab_separated``."""
    _write(tab_separated(values))


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that fits the terminal."""
    TableWriter(columns, rows).write(rows)


class TableWriter:
    """A table whose rows come in parts.

    Args:
        columns: all of them; those that do not fit are left out.
        sample: rows that decide how wide the columns are.
    """

    def __init__(self, columns: Sequence[Column], sample: Iterable[Sequence[str]]) -> None:
        rows = [[printable(text) for text in cells] for cells in sample]
        self._layout = fitted(columns, rows, width())
        self._has_heading = False

    def write(self, rows: Iterable[Sequence[str]]) -> None:
        """Print rows, and before the first ones the heading."""
        if not self._has_heading:
            _print_cells(self._layout.heading(), "bold")
            self._has_heading = True
        for cells in rows:
            row, below = self._layout.split([printable(text) for text in cells])
            for parts in self._layout.lines(row):
                _print_cells(parts)
            for text in below:
                paragraph(text, indent=_BELOW_INDENT)


def _print_cells(cells: Iterable[str], style: str = "") -> None:
    text = Text(style=style, no_wrap=True)
    for number, cell in enumerate(cells):
        word = cell.strip()
        before, _, after = cell.partition(word) if word else (cell, "", "")
        text.append(("  " if number else "") + before)
        text.append(word, STYLES.get(word, ""))
        text.append(after)
    text.rstrip()
    console().print(text, soft_wrap=True)


def paragraph(text: str, *, indent: int = 0) -> None:
    """Print a text for people: on a terminal broken between words, elsewhere one line."""
    visible = printable(" ".join(text.split()))
    if not on_terminal():
        line(" " * indent + visible)
        return
    for part in Text(visible).wrap(console(), max(width() - indent, _NAME_WIDTH)):
        part.rstrip()
        console().print(Text(" " * indent) + part, soft_wrap=True)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; on a terminal long values are broken."""
    for name, value in pairs:
        if not value:
            continue
        if not on_terminal():
            line(f"{name:<{_NAME_WIDTH}}{value}")
            continue
        text = Text(printable(value))
        text.stylize(STYLES.get(value.partition(" ")[0], ""), 0, len(value.partition(" ")[0]))
        parts = text.wrap(console(), max(width() - _NAME_WIDTH, _NAME_WIDTH))
        for number, part in enumerate(parts):
            part.rstrip()
            heading = "" if number else name
            console().print(Text(f"{heading:<{_NAME_WIDTH}}") + part, soft_wrap=True)


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it here: names of the contract in its order, counts as numbers.

    Protobuf's own JSON writes 64-bit numbers as text, which scripts then compare
    as text. Fields that are messages or times are absent when not set.
    """
    plain: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _arranged(message, plain)


def _arranged(message: Message, plain: dict[str, Any]) -> dict[str, Any]:
    fields = [field for field in message.DESCRIPTOR.fields if field.name in plain]
    return {
        field.name: _value(field, getattr(message, field.name), plain[field.name])
        for field in fields
    }


def _value(field: Any, value: Any, plain: Any) -> Any:
    if field.cpp_type in _LONG:
        return list(value) if field.is_repeated else value
    if field.message_type is None or field.message_type.full_name.startswith("google."):
        return plain  # times and spans are text
    if field.message_type.GetOptions().map_entry:
        return dict(sorted(plain.items()))
    if field.is_repeated:
        return [_arranged(item, text) for item, text in zip(value, plain, strict=True)]
    return _arranged(value, plain)


def print_json(value: Message | dict[str, Any]) -> None:
    """Print one JSON object on one line, at once: an answer, or one item of a list."""
    plain = value if isinstance(value, dict) else as_dict(value)
    _write(json_text(plain))


def print_event(event: str, value: Message | dict[str, Any]) -> None:
    """Print one object of a stream, on one line, at once; ``event`` says what it is.

    Args:
        event: the first entry of the object, as in ``started`` or ``campaign``.
        value: its other entries.
    """
    plain = value if isinstance(value, dict) else as_dict(value)
    _write(json_text({"event": event, **plain}))


def json_text(value: dict[str, Any]) -> str:
    """Return a JSON object on one line; ASCII where standard output takes nothing else."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return json.dumps(value, ensure_ascii=not encoding.startswith("utf"))
