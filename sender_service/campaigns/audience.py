"""Recipients on their way in: checked without a database, one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sender_service.channels.errors import InvalidAddressError
from sender_service.store.recipients import REJECTED_ADDRESS, CheckedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sender_service.channels.contract import Channel

MAX_ADDRESS = 2_048
MAX_RECIPIENT_KEY = 255
MAX_FIELDS_BYTES = 16 * 1024
_LINE_BREAKERS = ("\r", "\n", "\0")


class RecipientInput(NamedTuple):
    """A recipient as the caller names it."""

    address: str
    recipient_key: str
    fields: Mapping[str, Any]


class RecipientBatch(NamedTuple):
    """One message of an upload, checked but for its recipients.

    Attributes:
        campaign_id: the campaign.
        upload_id: names the upload.
        first_row: the number of the first recipient within the upload, from 0.
        recipients: in the order of the upload.
    """

    campaign_id: str
    upload_id: str
    first_row: int
    recipients: Sequence[RecipientInput]


def check_rows(channel: Channel, inputs: Iterable[RecipientInput]) -> list[CheckedRow]:
    """Check recipients; the row of one that can't be used says why."""
    return [check_row(channel, recipient) for recipient in inputs]


def check_row(channel: Channel, recipient: RecipientInput) -> CheckedRow:
    """Check a recipient; the row of one that can't be used says why.

    Its address is in the channel's form, or as the caller wrote it where it can't be used.
    """
    reason = broken_limit(recipient)
    fields = "" if reason else _fields_as_json(recipient.fields)
    if fields is None:
        reason = "fields has a number that is not finite"
    elif len(fields.encode()) > MAX_FIELDS_BYTES:
        reason = f"fields has at most {MAX_FIELDS_BYTES // 1024} KiB as JSON"
    if reason or fields is None:
        return CheckedRow(recipient.address[:REJECTED_ADDRESS], reason=reason)
    try:
        address = channel.check_address(recipient.address)
    except (InvalidAddressError, ValueError) as error:
        # Channels of other packages may leave a library's ValueError as it is.
        reason = str(error) or "the channel can't use this address"
        return CheckedRow(recipient.address[:REJECTED_ADDRESS], reason=reason)
    return CheckedRow(address, recipient.recipient_key, fields)


def broken_limit(recipient: RecipientInput) -> str:
    """Return which limit a recipient breaks before any channel sees it; empty: none."""
    limits = (
        (
            len(recipient.address) > MAX_ADDRESS,
            f"an address has at most {MAX_ADDRESS:,} characters",
        ),
        (
            # A line break in an address is a command where it is sent to.
            any(breaker in recipient.address for breaker in _LINE_BREAKERS),
            "an address must not contain line breaks or NUL",
        ),
        (
            len(recipient.recipient_key) > MAX_RECIPIENT_KEY,
            f"a recipient_key has at most {MAX_RECIPIENT_KEY} characters",
        ),
        ("\0" in recipient.recipient_key, "a recipient_key must not contain NUL"),
    )
    return next((reason for broken, reason in limits if broken), "")


def _fields_as_json(fields: Mapping[str, Any]) -> str | None:
    """Return the fields as they are stored; None if JSON has no such number."""
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return None
