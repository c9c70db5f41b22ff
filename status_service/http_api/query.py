"""Query parameters as fields of a request.

``states=SENDING&states=PAUSED`` is a repeated field, ``labels[team]=a`` an entry of a map,
``order=STUCK_FIRST`` or ``order=2`` an enum, ``parent.child=1`` a field of a message within,
``stallThreshold=300s`` a duration. Names of the contract and their lowerCamelCase are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import FieldDescriptor

from service_runtime.errors import InvalidRequestError
from status_service.http_api.json_form import field_of, is_map, object_in, to_message

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_BOOLEANS = {"true": True, "false": False}
#: So many parameters are read at most.
_MOST_PARAMETERS = 1_000
#: As much of a wrong name is shown, characters.
_SHOWN = 80
#: Fields that carry a key.
SECRETS = {"authorization"}
#: Names by which other services take a key in a URL; no call has such a field.
_NAMES_OF_KEYS = {"access_token", "api_key", "apikey", "api-key", "key", "token"}
_KEY_IN_URL = (
    "a key never stands in a URL, which logs and histories keep; send the header"
    " authorization: Bearer closeout_…, and revoke this key if others could read it"
)


def message_of_query(query: bytes, descriptor: Descriptor) -> Message:
    """Return the request that query parameters are.

    Raises:
        InvalidRequestError: a parameter is no field of it, is given twice, or has a wrong
            value; each is named.
    """
    try:
        pairs = parse_qsl(
            query.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError as error:
        text = f"not readable as UTF-8, or more than {_MOST_PARAMETERS:,} parameters"
        raise InvalidRequestError.of({"query": text}) from error
    form: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in pairs:
        if problem := _put(form, descriptor, name, value):
            wrong.setdefault(name[:_SHOWN], problem)
    try:
        message = to_message(form, descriptor)
    except InvalidRequestError as error:
        raise InvalidRequestError.of(wrong | error.fields) from error
    if wrong:
        raise InvalidRequestError.of(wrong)
    return message


def unknown(name: str, text: str) -> str:
    """Return what is wrong with a parameter that no field has: ``text``, or that it is a key."""
    return _KEY_IN_URL if name.lower() in _NAMES_OF_KEYS | SECRETS else text


def _put(form: dict[str, Any], descriptor: Descriptor, name: str, value: str) -> str:
    """Put one parameter into the form; return what is wrong with it."""
    head, bracket, key = name.partition("[")
    *parents, last = head.split(".")
    for parent in parents:
        outer = field_of(descriptor, parent)
        inner = None if outer is None or outer.is_repeated else object_in(outer)
        if outer is None or inner is None:
            return "unknown parameter"
        form = form.setdefault(outer.name, {})
        descriptor = inner
    field = field_of(descriptor, last)
    if field is None or (bracket and not (is_map(field) and key.endswith("]"))):
        return unknown(name, "unknown parameter")
    if field.name in SECRETS:
        return _KEY_IN_URL
    if bracket:
        return _put_entry(form.setdefault(field.name, {}), key.removesuffix("]"), value)
    return _put_value(form, field, value)


def _put_entry(entries: dict[str, str], key: str, value: str) -> str:
    if key in entries:
        return "given twice"
    entries[key] = value
    return ""


def _put_value(form: dict[str, Any], field: FieldDescriptor, text: str) -> str:
    if is_map(field):
        return f"expected {field.name}[KEY]=VALUE"
    if object_in(field) is not None:
        return "not for a query: name a field within it"
    value: Any = text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text not in _BOOLEANS:
            return "expected true or false"
        value = _BOOLEANS[text]
    if field.is_repeated:
        form.setdefault(field.name, []).append(value)
    elif field.name in form:
        return "given twice"
    else:
        form[field.name] = value
    return ""
