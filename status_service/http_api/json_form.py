"""Messages in the JSON form of protobuf, both ways, and what is wrong with such JSON.

Names of fields are lowerCamelCase; those of the contract are taken as well. Numbers of 64
bits are texts, enums are names, and a number is taken for each.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, cast

from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from service_runtime.errors import InvalidRequestError
from service_runtime.validation import MOST_VIOLATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

#: What the parser of protobuf raises for what is no such message.
_REFUSALS = (json_format.ParseError, ValueError, TypeError, OverflowError, RecursionError)
#: So much of what is wrong is shown, characters.
_SHOWN = 80
#: Where the parser met a mistake: a path with the names of messages.
_PLACE = re.compile(r" at [A-Za-z]\w*(\.[\w.\[\]]+)?$")
#: As many values a body may have: a full batch has fewer. Each costs far more time to read
#: than its bytes do.
MOST_VALUES = 30_000
#: What begins a value, and texts, in which nothing does. Each text is a name or a value.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[,\[{]', re.DOTALL)
#: So many mistakes are counted.
_MOST_MISTAKES = 1_000


def to_json(message: Message) -> bytes:
    """Return a message as JSON on one line, with the fields that have no value set."""
    form = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return json.dumps(form, ensure_ascii=False, separators=(",", ":")).encode()


def read_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body has; nothing is an empty one.

    Raises:
        InvalidRequestError: it is none; the text says where it is broken.
    """
    if not body.strip():
        return {}
    _check_size(body)
    try:
        found = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequestError.of({"body": f"no JSON: {error.msg} at {place}"}) from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError.of({"body": f"no UTF-8 at byte {error.start}"}) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError.of({"body": f"no JSON that is taken: {error}"}) from error
    if not isinstance(found, dict):
        raise InvalidRequestError.of({"body": "expected a JSON object, as in {}"})
    return found


def _check_size(body: bytes) -> None:
    """Refuse what takes too long to read, before it is read.

    Raises:
        InvalidRequestError: there are more values than any call takes.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) <= MOST_VALUES:
        return
    values = texts = 0
    for token in _TOKEN.finditer(body):
        if token[0].startswith(b'"'):
            texts += 1
        else:
            values += 1
        if values > MOST_VALUES or texts > 2 * MOST_VALUES:
            raise InvalidRequestError.of(
                {"body": f"more than {MOST_VALUES:,} values; send fewer results at once"}
            )


def to_message(form: dict[str, Any], descriptor: Descriptor) -> Message:
    """Return the message that an object describes.

    Raises:
        InvalidRequestError: it describes none; each wrong field is named.
    """
    message = GetMessageClass(descriptor)()
    try:
        json_format.ParseDict(form, message)
    except _REFUSALS as error:
        # The parser stops at the first mistake, and names its place in words.
        found = list(dict(islice(_mistakes(form, descriptor, ""), _MOST_MISTAKES)).items())
        named, unnamed = dict(found[:MOST_VIOLATIONS]), found[MOST_VIOLATIONS:]
        raise InvalidRequestError.of(
            named or {"body": _said(error)}, unnamed=len(unnamed)
        ) from error
    return message


def field_of(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    """Return the field with a name of the contract, or with its form in JSON."""
    known = descriptor.fields_by_name.get(name)
    return known or descriptor.fields_by_camelcase_name.get(name)


def is_map(field: FieldDescriptor) -> bool:
    """Return whether this is a field of pairs."""
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def object_in(field: FieldDescriptor) -> Descriptor | None:
    """Return the message in a field whose form in JSON is an object of its fields, if it is one."""
    found = field.message_type
    if found is None or is_map(field) or found.full_name.startswith("google.protobuf."):
        return None
    return found


def _mistakes(form: Any, descriptor: Descriptor, place: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each wrong field below ``place``, and what is wrong with it."""
    if not isinstance(form, dict):
        yield place, "expected an object"
        return
    for name, value in form.items():
        field = field_of(descriptor, name)
        path = f"{place}.{name}".lstrip(".")[:_SHOWN]
        if field is None:
            yield path, "unknown field"
            continue
        path = f"{place}.{field.name}".lstrip(".")
        yield from _mistakes_of_value(field, value, path)


def _mistakes_of_value(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, str]]:
    inner = object_in(field)
    if inner is not None and value is not None:
        if not field.is_repeated:
            yield from _mistakes(value, inner, path)
        elif isinstance(value, list):
            for index, element in enumerate(value):
                yield from _mistakes(element, inner, f"{path}[{index}]")
        else:
            yield path, "expected an array"
        return
    if field.is_repeated and isinstance(value, list):
        for index, element in enumerate(value):
            yield from _refusal(field, [element], f"{path}[{index}]")
    else:
        yield from _refusal(field, value, path)


def _refusal(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield why a field does not take a value, if it does not."""
    message = GetMessageClass(cast("Descriptor", field.containing_type))()
    try:
        json_format.ParseDict({field.name: value}, message)
    except _REFUSALS as error:
        yield path, _said(error)


def _said(error: Exception) -> str:
    """Return what the parser says of a value, without the names of the fields around it."""
    text = _PLACE.sub("", str(error).rpartition("field: ")[2].strip()).rstrip(".")
    return text if len(text) <= 2 * _SHOWN else f"{text[: 2 * _SHOWN]}…"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, in which no name stands twice.

    Raises:
        ValueError: one does.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{twice[:_SHOWN]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    """Refuse what Python takes for JSON and others do not.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no value of JSON")
