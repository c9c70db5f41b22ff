"""Checks of an audience without a database: recipients on their way in, sequences asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sender_service.channels.errors import InvalidAddressError
from sender_service.store.recipients import REJECTED_ADDRESS, CheckedRow
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sender_service.channels.contract import Channel

#: Recipients of one batch.
MAX_BATCH = 1_000
MAX_UPLOAD_ID = 128
MAX_ADDRESS = 2_048
MAX_RECIPIENT_KEY = 255
MAX_FIELDS_BYTES = 16 * 1024
#: Sequences one call may ask for.
MAX_SEQUENCES = 1_000
_LINE_BREAKERS = ("\r", "\n", "\0")


class GivenRecipient(NamedTuple):
    """A recipient as the caller gave it."""

    address: str
    recipient_key: str
    fields: Mapping[str, Any]


def check_rows(channel: Channel, given: Iterable[GivenRecipient]) -> list[CheckedRow]:
    """Check recipients without a database; one that can't be used says why."""
    return [_check(channel, recipient) for recipient in given]


def _check(channel: Channel, given: GivenRecipient) -> CheckedRow:
    fields = ""
    reason = _broken_limit(given)
    if not reason:
        try:
            fields = json.dumps(
                given.fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
            address = channel.check_address(given.address)
        except ValueError:
            reason = "fields has a number that is not finite"
        except InvalidAddressError as error:
            reason = str(error)
    if not reason and len(fields.encode()) > MAX_FIELDS_BYTES:
        reason = f"fields has at most {MAX_FIELDS_BYTES // 1024} KiB as JSON"
    if reason:
        return CheckedRow(given.address[:REJECTED_ADDRESS], reason=reason)
    return CheckedRow(address, given.recipient_key, fields)


def _broken_limit(given: GivenRecipient) -> str:
    """Return which limit a recipient breaks before any channel sees it; empty: none."""
    limits = (
        (
            len(given.address) > MAX_ADDRESS,
            f"an address has at most {MAX_ADDRESS:,} characters",
        ),
        (
            # A line break in an address is a command where it is sent to.
            any(breaker in given.address for breaker in _LINE_BREAKERS),
            "an address must not contain line breaks or NUL",
        ),
        (
            len(given.recipient_key) > MAX_RECIPIENT_KEY,
            f"a recipient_key has at most {MAX_RECIPIENT_KEY} characters",
        ),
        ("\0" in given.recipient_key, "a recipient_key must not contain NUL"),
    )
    return next((reason for broken, reason in limits if broken), "")


def check_batch(*, upload_id: str, first_row: int, recipients_given: int) -> None:
    """Check what surrounds the rows of one batch.

    Raises:
        InvalidRequestError: a field is wrong.
    """
    violations: dict[str, str] = {}
    if not 0 < len(upload_id) <= MAX_UPLOAD_ID:
        violations["upload_id"] = f"1 to {MAX_UPLOAD_ID} characters, in every message"
    if first_row < 0:
        violations["first_row"] = "must not be negative"
    if recipients_given > MAX_BATCH:
        violations["recipients"] = f"at most {MAX_BATCH:,}; got {recipients_given:,}"
    if violations:
        raise InvalidRequestError.of(violations)


def check_sequences(sequences: Collection[int]) -> None:
    """Check how many are asked for.

    Raises:
        InvalidRequestError: none, or too many.
    """
    if not 1 <= len(sequences) <= MAX_SEQUENCES:
        raise InvalidRequestError.of({"sequences": f"1 to {MAX_SEQUENCES:,} of them"})
