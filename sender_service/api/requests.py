"""From the messages of the contract to the sender's own types: every check of a request."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.campaigns.audience import GivenRecipient
from sender_service.channels.contract import Content
from sender_service.domain import Guarantee
from sender_service.store.campaigns import NewCampaign
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from google.protobuf import duration_pb2, struct_pb2

    from sender_service.channels.contract import Channel
MAX_DISPLAY_NAME = 200
MAX_WINDOW = 10_000
MAX_ATTEMPTS = 100
DEFAULT_ATTEMPTS = 5
DEFAULT_RETRY_BACKOFF_MS = 2_000
_MAX_RETRY_BACKOFF_MS = 3_600_000
_CAMPAIGN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_create(request: pb.CreateCampaignRequest) -> None:
    """Check the fields of CreateCampaign that need no channel.

    Raises:
        InvalidRequestError: one or more are wrong.
    """
    options = request.options
    violations: dict[str, str] = {}
    if request.campaign_id and not _CAMPAIGN_ID.fullmatch(request.campaign_id):
        violations["campaign_id"] = (
            "1 to 128 characters of A-Z a-z 0-9 . _ - beginning with a letter or a digit"
        )
    if len(request.display_name) > MAX_DISPLAY_NAME or "\0" in request.display_name:
        violations["display_name"] = f"at most {MAX_DISPLAY_NAME} characters, without NUL"
    if not request.channel:
        violations["channel"] = "required"
    if request.request_id and not _is_uuid(request.request_id):
        violations["request_id"] = "a UUID"
    if options.guarantee not in pb.DeliveryOptions.Guarantee.values():
        violations["options.guarantee"] = "unknown"
    if not 0 <= options.max_in_flight <= MAX_WINDOW:
        violations["options.max_in_flight"] = f"0 to {MAX_WINDOW:,}"
    if not 0 <= options.retry.max_attempts <= MAX_ATTEMPTS:
        violations["options.retry.max_attempts"] = f"0 to {MAX_ATTEMPTS}"
    if not 0 <= _milliseconds(options.retry.initial_backoff) <= _MAX_RETRY_BACKOFF_MS:
        violations["options.retry.initial_backoff"] = "0 s to 1 h"
    if violations:
        raise InvalidRequestError.of(violations)


def new_campaign(
    request: pb.CreateCampaignRequest, organisation: str, channel: Channel
) -> NewCampaign:
    """Return the campaign a checked request asks for; defaults are the channel's."""
    options = request.options
    content = json.dumps(dataclasses.asdict(content_of(request.email)), sort_keys=True)
    chosen = [
        request.display_name,
        request.channel,
        content,
        options.SerializeToString(deterministic=True).hex(),
    ]
    guarantee = (
        _default_guarantee(channel)
        if options.guarantee == pb.DeliveryOptions.GUARANTEE_UNSPECIFIED
        else Guarantee(pb.DeliveryOptions.Guarantee.Name(options.guarantee))
    )
    return NewCampaign(
        organisation=organisation,
        campaign_id=request.campaign_id,
        # With an id of the caller's own, that alone tells a repeat from another call.
        request_id="" if request.campaign_id else request.request_id,
        display_name=request.display_name,
        channel=request.channel,
        content=content,
        content_digest=_digest([request.channel, content]),
        request_digest=_digest(chosen),
        guarantee=guarantee,
        window=options.max_in_flight or channel.window,
        max_attempts=options.retry.max_attempts or DEFAULT_ATTEMPTS,
        retry_backoff_ms=(
            _milliseconds(options.retry.initial_backoff)
            if options.retry.HasField("initial_backoff")
            else DEFAULT_RETRY_BACKOFF_MS
        ),
    )


def _default_guarantee(channel: Channel) -> Guarantee:
    return Guarantee.AT_LEAST_ONCE if channel.at_least_once else Guarantee.AT_MOST_ONCE


def content_of(content: pb.EmailContent) -> Content:
    """Return the content as channels take it."""
    return Content(
        subject=content.subject,
        text=content.text,
        html=content.html,
        from_=getattr(content, "from"),
        reply_to=content.reply_to,
        list_unsubscribe=content.list_unsubscribe,
        headers=dict(content.headers),
    )


def given_recipient(recipient: pb.Recipient) -> GivenRecipient:
    """Return a recipient as the caller gave it."""
    return GivenRecipient(
        recipient.address, recipient.recipient_key, struct_to_dict(recipient.fields)
    )


def struct_to_dict(struct: struct_pb2.Struct) -> dict[str, Any]:
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
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return None if kind is None or kind == "null_value" else getattr(value, kind)


def _milliseconds(duration: duration_pb2.Duration) -> int:
    return duration.seconds * 1000 + duration.nanos // 1_000_000


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _digest(parts: list[str]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
