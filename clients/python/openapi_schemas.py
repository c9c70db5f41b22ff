"""The messages of the contract as schemas of OpenAPI 3.1, in the JSON form of protobuf."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_INT64 = {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}
_INT32 = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
#: The JSON form of each scalar type that the contract uses.
_SCALARS: Final[Mapping[int, dict[str, Any]]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_STRING: {"type": "string"},
}
_KNOWN_MESSAGES: Final[Mapping[str, dict[str, Any]]] = {
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$",
        "examples": ["300s"],
    },
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
}
#: Where the parts of a file stand in its source information.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _NESTED_ENUM, _VALUE, _METHOD = 2, 3, 4, 2, 2


def comments_of(files: FileDescriptorSet) -> dict[str, str]:
    """Return the comment of everything that has one, by full name, in paragraphs."""
    found: dict[str, str] = {}
    for file in files.file:
        for location in file.source_code_info.location:
            if location.leading_comments:
                name = _name_at(file, list(location.path))
                found[name] = _paragraphs(location.leading_comments)
    return found


def _name_at(file: FileDescriptorProto, path: list[int]) -> str:
    """Return the full name of what has a path in the source; empty for what has none."""
    names = [file.package]
    part: Any = file
    # What can stand in a file, and in a message, an enum or a service.
    members = {_MESSAGE: "message_type", _ENUM: "enum_type", _SERVICE: "service"}
    while len(path) > 1 and path[0] in members:
        kind = members[path[0]]
        part = getattr(part, kind)[path[1]]
        names.append(part.name)
        path = path[2:]
        members = {
            "message_type": {_FIELD: "field", _NESTED: "nested_type", _NESTED_ENUM: "enum_type"},
            "nested_type": {_FIELD: "field", _NESTED: "nested_type", _NESTED_ENUM: "enum_type"},
            "enum_type": {_VALUE: "value"},
            "service": {_METHOD: "method"},
        }.get(kind, {})
    return "" if path else ".".join(names)


def _paragraphs(comment: str) -> str:
    """Return a comment with one line for each paragraph."""
    paragraphs = re.split(r"\n\s*\n", comment.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def first_sentence(text: str) -> str:
    """Return the beginning of a comment, for a line that stands alone."""
    return re.split(r"(?<=[.?!]) [A-Z]|\n", text)[0].split(". ")[0].rstrip(".")


class Schemas:
    """Collects the schemas of messages and enums, by name.

    Args:
        comments: by full name.
        sent: full names of the messages that callers send; these take no other fields.
    """

    def __init__(self, comments: Mapping[str, str], sent: Container[str]) -> None:
        self._comments = comments
        self._sent = sent
        #: Those collected.
        self.found: dict[str, Any] = {}

    def reference(
        self, message: Descriptor | EnumDescriptor, *, without: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Return a reference to the schema of a message or enum, and collect it.

        Args:
            message: what it is of.
            without: fields that stand elsewhere, in the path.
        """
        name = message.full_name.removeprefix(f"{message.file.package}.")
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = (
                self._object(message, set(without))
                if isinstance(message, Descriptor)
                else self._enum(message)
            )
        return {"$ref": f"#/components/schemas/{name}"}

    def of_field(self, field: FieldDescriptor) -> dict[str, Any]:
        """Return the schema of a field, with its comment."""
        schema = self._of_value(field)
        if field.is_repeated and not self._is_map(field):
            schema = {"type": "array", "items": schema}
        comment = self._comments.get(field.full_name, "")
        return {**schema, "description": comment} if comment else schema

    def is_required(self, field: FieldDescriptor) -> bool:
        """Return whether the contract requires a field of a request."""
        return self._comments.get(field.full_name, "").startswith("Required")

    @staticmethod
    def _is_map(field: FieldDescriptor) -> bool:
        return field.message_type is not None and field.message_type.GetOptions().map_entry

    def _of_value(self, field: FieldDescriptor) -> dict[str, Any]:
        if field.enum_type is not None:
            return self.reference(field.enum_type)
        if field.message_type is None:
            return dict(_SCALARS[field.type])
        if self._is_map(field):
            value = field.message_type.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self._of_value(value)}
        if known := _KNOWN_MESSAGES.get(field.message_type.full_name):
            return dict(known)
        return self.reference(field.message_type)

    def _object(self, message: Descriptor, without: set[str]) -> dict[str, Any]:
        fields = [field for field in message.fields if field.name not in without]
        is_sent = message.full_name in self._sent
        required = [
            field.json_name
            for field in fields
            # What has no presence is always there in an answer.
            if (self.is_required(field) if is_sent else not field.has_presence)
        ]
        schema: dict[str, Any] = {
            "type": "object",
            "description": self._comments.get(message.full_name, ""),
            "properties": {field.json_name: self.of_field(field) for field in fields},
        }
        if required:
            schema["required"] = required
        if is_sent:
            schema["additionalProperties"] = False
        return schema

    def _enum(self, enum: EnumDescriptor) -> dict[str, Any]:
        lines = [self._comments.get(enum.full_name, "")]
        for value in enum.values:
            # protoc puts the values of an enum beside it, and comments within it.
            comment = self._comments.get(f"{enum.full_name}.{value.name}", "")
            lines.append(f"- {value.name}: {comment}")
        return {
            "type": "string",
            "description": "\n".join(lines),
            "enum": [value.name for value in enum.values],
        }
