"""What a command prints: tables on a terminal, plain lines elsewhere, JSON on demand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message
    from rich.console import RenderableType

_LONG = {
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
}
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
    """Tell whether a person looks at standard output, and it can move the cursor."""
    return console().is_terminal and not console().is_dumb_terminal


def line(text: str) -> None:
    """Print one plain line at once, so that whoever reads a pipe sees it now.

    What users and providers wrote can't move the cursor or begin another line.
    """
    sys.stdout.write(f"{printable(text)}\n")
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


def table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """Return an empty table.

    Args:
        title: printed above it; may be empty.
        columns: heading and alignment, ``left`` or ``right``.
    """
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for heading, justify in columns:
        made.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    return made


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it here: names of the contract, counts as numbers.

    Protobuf's own JSON writes 64-bit numbers as text, which scripts then compare
    as text. Fields that are messages or times are absent when not set.
    """
    plain: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _numbers(message, plain)
    return plain


def _numbers(message: Message, plain: dict[str, Any]) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.name not in plain:
            continue
        value = getattr(message, field.name)
        if field.cpp_type in _LONG:
            plain[field.name] = list(value) if field.is_repeated else value
        elif isinstance(plain[field.name], dict):
            _numbers(value, plain[field.name])
        elif field.is_repeated and field.message_type is not None:
            for item, plain_item in zip(value, plain[field.name], strict=True):
                if isinstance(plain_item, dict):
                    _numbers(item, plain_item)


def print_json(value: Message | dict[str, Any]) -> None:
    """Print one JSON object on one line."""
    plain = value if isinstance(value, dict) else as_dict(value)
    line(json.dumps(plain, ensure_ascii=False))
