"""Content and fields from the messages of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.channels.contract import EmailContent, JsonContent, NoContent, TextContent

if TYPE_CHECKING:
    from google.protobuf import struct_pb2

    from sender_service.channels.contract import Content


def content_of(body: pb.EmailContent | pb.TextContent | pb.JsonContent | None) -> Content:
    """Return the content that a message of the contract has."""
    match body:
        case pb.EmailContent():
            return EmailContent(
                subject=body.subject,
                text=body.text,
                html=body.html,
                from_=getattr(body, "from"),
                reply_to=body.reply_to,
                list_unsubscribe=body.list_unsubscribe,
                headers=dict(body.headers),
            )
        case pb.TextContent():
            return TextContent(body.text)
        case pb.JsonContent():
            return JsonContent(body.json)
    return NoContent()


def fields_of(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return a Struct as JSON has it, whole numbers as ``int``.

    A template that says ``{{ points }}`` prints 5, not 5.0.
    """
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "struct_value":
        return fields_of(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return None if kind is None or kind == "null_value" else getattr(value, kind)
