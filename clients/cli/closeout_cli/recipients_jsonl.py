"""A recipients file in JSON Lines: one object a line, whose values may be nested."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.recipients_columns import Columns, ColumnsError, understood
from closeout_cli.recipients_csv import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.struct_pb2 import Value

    from closeout_cli.recipients_source import RecipientsSource

#: A message of the contract nests no deeper.
_MAX_DEPTH = 20
#: Whole numbers beyond this would be rounded on their way.
_MAX_EXACT = 2**53


@dataclass(frozen=True)
class JsonRecipients:
    """The recipients of a JSON Lines file, in order, each with its line.

    Attributes:
        source: the file.
        columns: the names of all objects, and what they mean.
    """

    source: RecipientsSource
    columns: Columns

    def __iter__(self) -> Iterator[tuple[int, pb.Recipient]]:
        """Yield the recipients that :func:`read_jsonl` has checked."""
        names = dict(zip(self.columns.headings, self.columns.fields, strict=True))
        for line, entry in _objects(self.source):
            yield line, self._recipient(entry, names)

    def addresses(self) -> Iterator[tuple[int, str]]:
        """Yield the addresses alone, which is faster."""
        name = self.columns.headings[self.columns.address]
        for line, entry in _objects(self.source):
            address = entry.get(name)
            yield line, "" if address is None else str(address)

    def _recipient(self, entry: dict[str, Any], names: dict[str, str]) -> pb.Recipient:
        columns = self.columns
        key = columns.headings[columns.key] if columns.key is not None else None
        address = entry.get(columns.headings[columns.address])
        own = entry.get(key) if key is not None else None
        recipient = pb.Recipient(
            address="" if address is None else str(address),
            recipient_key="" if own is None else str(own),
        )
        for heading, value in entry.items():
            # Nothing is no value, as an empty cell of a CSV file is none.
            if names[heading] and value is not None and value != "":
                _set(recipient.fields.fields[names[heading]], value)
        return recipient


def read_jsonl(source: RecipientsSource, address_column: str = "") -> JsonRecipients:
    """Read a JSON Lines file to its end and check every line.

    Raises:
        CommandError: no object has an address, or a line is no object; the text names it.
    """
    names: dict[str, None] = {}
    for _, entry in _objects(source):
        names.update(dict.fromkeys(entry))
    if not names:
        raise source.wrong('no recipients; a line is an object, as in {"email": "a@example.com"}')
    try:
        columns = understood(list(names), address_column)
    except ColumnsError as error:
        raise source.wrong(str(error)) from error
    used = (columns.address, columns.key)
    checked = {columns.headings[index] for index in used if index is not None}
    for line, entry in _objects(source):
        for name in checked & entry.keys():
            if isinstance(entry[name], dict | list | bool):
                raise source.wrong(f"line {line}: {name!r} must be a text, not {entry[name]!r}")
    return JsonRecipients(source, columns)


def _objects(source: RecipientsSource) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects with their lines; blank lines are none."""
    with source.text() as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            if len(text) > MAX_CHARACTERS:
                raise source.wrong(f"line {line} is too long for one recipient")
            try:
                entry = json.loads(text, parse_constant=_no_number)
            except (ValueError, RecursionError) as error:
                raise source.wrong(f"line {line} is not JSON: {error}") from error
            if not isinstance(entry, dict):
                raise source.wrong(
                    f"line {line} is no object; write one recipient a line,"
                    ' as in {"email": "a@example.com"}'
                )
            if "\\u0000" in text and _has_nul(entry):
                raise source.wrong(f"line {line} has a NUL character; leave it out")
            if _depth(entry) > _MAX_DEPTH:
                raise source.wrong(f"line {line} is nested deeper than {_MAX_DEPTH} levels")
            yield line, entry


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _set(target: Value, value: Any) -> None:
    if value is None:
        target.null_value = 0  # type: ignore[assignment] # the only value of its kind
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int) and abs(value) > _MAX_EXACT:
        target.string_value = str(value)
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            _set(target.list_value.values.add(), item)
    else:
        target.struct_value.SetInParent()
        for name, item in value.items():
            _set(target.struct_value.fields[name], item)
