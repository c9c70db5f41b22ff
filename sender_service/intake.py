"""Recipients on their way in: checked, counted, numbered without a gap.

A batch is taken whole or not at all. Rows are numbered within an upload, so an
upload that broke off is repeated from the start and goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service import bulk, campaigns
from sender_service.channels.errors import InvalidAddressError
from sender_service.domain import Phase
from sender_service.errors import AudienceFrozenError, UploadOutOfOrderError
from sender_service.schema import campaigns as campaigns_table
from sender_service.schema import recipients, uploads
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sender_service.channels import Channel

#: Recipients of one batch.
MAX_BATCH = 1_000
MAX_UPLOAD_ID = 128
MAX_ADDRESS = 2_048
MAX_RECIPIENT_KEY = 255
MAX_FIELDS_BYTES = 16 * 1024
#: How many rejected rows an upload remembers, and how much of their addresses.
_REJECTED_ROWS = 20
_REJECTED_ADDRESS = 320
_LINE_BREAKERS = ("\r", "\n", "\0")


class GivenRecipient(NamedTuple):
    """A recipient as the caller gave it."""

    address: str
    recipient_key: str
    fields: Mapping[str, Any]


class CheckedRow(NamedTuple):
    """A recipient, checked; ``reason`` says why it can't be used, or is empty.

    ``address`` is in the channel's form, or as given where it can't be used;
    ``fields`` is JSON.
    """

    address: str
    recipient_key: str = ""
    fields: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that did not become a message."""

    row: int
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class UploadResult:
    """Counts of an upload, from its first row on; ``total`` is of the campaign."""

    next_row: int
    accepted: int
    duplicate: int
    invalid: int
    rejected_rows: Sequence[RejectedRow]
    total: int


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
        return CheckedRow(given.address[:_REJECTED_ADDRESS], reason=reason)
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


def take_batch(
    connection: sa.Connection,
    organisation: str,
    campaign_id: str,
    *,
    upload_id: str,
    first_row: int,
    rows: Sequence[CheckedRow],
) -> UploadResult:
    """Store the rows that are new to the upload, or pass over them all.

    Args:
        connection: in a write transaction.
        organisation: the caller's.
        campaign_id: the campaign.
        upload_id: names the upload.
        first_row: the number of the first of ``rows`` within it, from 0.
        rows: checked.

    Raises:
        CampaignNotFoundError: there is none.
        UploadOutOfOrderError: rows are left out; nothing was stored.
        AudienceFrozenError: there are new rows, but the campaign was started.
    """
    campaign = campaigns.get(connection, organisation, campaign_id, lock=True)
    before = _upload(connection, campaign.campaign, upload_id, campaign.total)
    if first_row > before.next_row:
        raise UploadOutOfOrderError(upload_id=upload_id, row=first_row, expected=before.next_row)
    new = rows[before.next_row - first_row :]
    if not new:
        return before
    if campaign.phase != Phase.COLLECTING:
        raise AudienceFrozenError(campaign_id, total=campaign.total)
    taken = _known_addresses(connection, campaign.campaign, [row.address for row in new])
    accepted: list[CheckedRow] = []
    rejected: list[RejectedRow] = []
    duplicate = 0
    for number, row in enumerate(new, start=before.next_row):
        reason = row.reason
        if not reason and row.address in taken:
            reason = "the campaign has this address already"
            duplicate += 1
        if reason:
            rejected.append(RejectedRow(number, row.address[:_REJECTED_ADDRESS], reason))
        else:
            taken.add(row.address)
            accepted.append(row)
    after = UploadResult(
        next_row=before.next_row + len(new),
        accepted=before.accepted + len(accepted),
        duplicate=before.duplicate + duplicate,
        invalid=before.invalid + len(rejected) - duplicate,
        rejected_rows=[*before.rejected_rows, *rejected][:_REJECTED_ROWS],
        total=campaign.total + len(accepted),
    )
    _store(connection, campaign.campaign, upload_id, accepted, after)
    return after


def _upload(connection: sa.Connection, campaign: int, upload_id: str, total: int) -> UploadResult:
    row = connection.execute(
        sa.select(uploads).where(uploads.c.campaign == campaign, uploads.c.upload_id == upload_id)
    ).one_or_none()
    if row is None:
        return UploadResult(0, 0, 0, 0, (), total)
    return UploadResult(
        next_row=row.next_row,
        accepted=row.accepted,
        duplicate=row.duplicate,
        invalid=row.invalid,
        rejected_rows=[RejectedRow(*rejected) for rejected in json.loads(row.rejected_rows)],
        total=total,
    )


def _known_addresses(
    connection: sa.Connection, campaign: int, addresses: Sequence[str]
) -> set[str]:
    known: set[str] = set()
    for part in bulk.chunks(addresses):
        known.update(
            connection.scalars(
                sa.select(recipients.c.address).where(
                    recipients.c.campaign == campaign, recipients.c.address.in_(part)
                )
            )
        )
    return known


def _store(
    connection: sa.Connection,
    campaign: int,
    upload_id: str,
    accepted: Sequence[CheckedRow],
    after: UploadResult,
) -> None:
    first_sequence = after.total - len(accepted) + 1
    bulk.insert(
        connection,
        recipients,
        ("campaign", "sequence", "address", "recipient_key", "fields"),
        [
            (campaign, sequence, row.address, row.recipient_key, row.fields)
            for sequence, row in enumerate(accepted, start=first_sequence)
        ],
    )
    rejected_rows = [[row.row, row.address, row.reason] for row in after.rejected_rows]
    bulk.insert(
        connection,
        uploads,
        ("campaign", "upload_id", "next_row", "accepted", "duplicate", "invalid", "rejected_rows"),
        [
            (
                campaign,
                upload_id,
                after.next_row,
                after.accepted,
                after.duplicate,
                after.invalid,
                json.dumps(rejected_rows),
            )
        ],
        replace=True,
    )
    connection.execute(
        sa.update(campaigns_table)
        .where(campaigns_table.c.campaign == campaign)
        .values(total=after.total)
    )


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
