"""The audience as it is stored: recipients counted and numbered without a gap, and read.

A batch is stored whole or not at all. Rows are numbered within an upload, so an
upload that broke off is repeated from its start and continues where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Phase
from sender_service.errors import (
    AudienceFrozenError,
    CampaignNotFoundError,
    RecipientsRemovedError,
    UploadOutOfOrderError,
)
from sender_service.store import bulk, campaigns
from sender_service.store.schema import campaigns as campaigns_table
from sender_service.store.schema import recipients, uploads

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: How many rejected rows an upload remembers.
_REJECTED_ROWS = 20
#: How much of the address of a rejected row is kept, characters.
REJECTED_ADDRESS = 320


class CheckedRow(NamedTuple):
    """A recipient, checked; ``reason`` says why it can't be used, or is empty.

    ``address`` is in the channel's form, or as the caller wrote it where it can't be used;
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


class Addressee(NamedTuple):
    """Who a message goes to.

    ``recipient_key`` is the caller's id, or empty; ``fields`` is JSON, or empty if they
    were not asked for.
    """

    sequence: int
    address: str
    recipient_key: str
    fields: str


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
            rejected.append(RejectedRow(number, row.address[:REJECTED_ADDRESS], reason))
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


def read_recipients(
    connection: sa.Connection,
    organisation: str,
    campaign_id: str,
    sequences: Collection[int],
    *,
    include_fields: bool = False,
) -> list[Addressee]:
    """Return the recipients of messages in order of sequence; unknown sequences are omitted.

    Raises:
        CampaignNotFoundError: there is none.
        RecipientsRemovedError: they are not kept any more.
    """
    # The outer join has one row of nulls for a campaign without these sequences, and no
    # row where there is no campaign.
    requested = sa.and_(
        recipients.c.campaign == campaigns_table.c.campaign,
        recipients.c.sequence.in_(sorted(set(sequences))),
    )
    rows = connection.execute(
        sa.select(
            recipients.c.sequence,
            recipients.c.address,
            recipients.c.recipient_key,
            recipients.c.fields if include_fields else sa.literal(""),
            campaigns_table.c.recipients_remove_time,
        )
        .select_from(campaigns_table.outerjoin(recipients, requested))
        .where(
            campaigns_table.c.organisation == organisation,
            campaigns_table.c.campaign_id == campaign_id,
        )
        .order_by(recipients.c.sequence)
    ).all()
    if not rows:
        raise CampaignNotFoundError(campaign_id)
    removed = rows[0].recipients_remove_time
    if removed is not None:
        raise RecipientsRemovedError(campaign_id, remove_time=removed)
    return [Addressee(*row[:-1]) for row in rows if row.sequence is not None]
