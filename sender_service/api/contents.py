"""Content, fields and recipients of a request: checked, and as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.campaigns.audience import RecipientInput
from sender_service.channels.contract import MAX_CONTENT_BYTES
from sender_service.channels.from_wire import content_of, fields_of

if TYPE_CHECKING:
    from closeout.sender.v1 import sender_pb2 as pb
    from sender_service.channels.contract import Content
    from service_runtime.validation import Validation

    Request = pb.CreateCampaignRequest | pb.SendTestRequest

#: Fields of recipients that one request names.
MAX_RECIPIENT_FIELDS = 1_000


def content(check: Validation, request: Request) -> Content:
    """Return the content of a request."""
    kind = request.WhichOneof("body")
    if kind is None:
        return content_of(None)
    body: pb.EmailContent | pb.TextContent | pb.JsonContent = getattr(request, kind)
    size = body.ByteSize()
    if size > MAX_CONTENT_BYTES:
        check.refuse(kind, f"{size:,} bytes of content; at most {MAX_CONTENT_BYTES:,}")
    if kind != "email":
        # Its one field has the name of its kind; how long it may be is checked above.
        check.text(f"{kind}.{kind}", getattr(body, kind), longest=size, required=True)
    return content_of(body)


def recipient_fields(check: Validation, request: Request) -> tuple[str, ...] | None:
    """Return the fields that recipients have; None where the request does not say."""
    if not request.HasField("recipient_fields"):
        return None
    names = request.recipient_fields.names
    if len(names) > MAX_RECIPIENT_FIELDS:
        check.refuse(
            "recipient_fields.names", f"{len(names)} given; at most {MAX_RECIPIENT_FIELDS:,}"
        )
        return ()
    return tuple(names)


def recipient_input(recipient: pb.Recipient) -> RecipientInput:
    """Return a recipient as it was given; nothing of it is checked yet."""
    return RecipientInput(recipient.address, recipient.recipient_key, fields_of(recipient.fields))
