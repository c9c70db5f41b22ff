"""An address is erased from what the sender keeps, a bounded number of campaigns at a time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Phase
from sender_service.store.schema import campaigns, outcomes, recipients, uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

#: Campaigns that one transaction looks at.
CAMPAIGNS_AT_ONCE: Final = 200
#: What stands in the place of an address in a text.
_ERASED: Final = "[erased]"
#: What the address of a person who was erased begins with: no channel takes it.
ERASED_PREFIX: Final = "[erased "


class Found(NamedTuple):
    """Where an address stands, in the campaigns that one transaction looked at.

    Attributes:
        messages: (campaign, sequence) of messages to it, in campaigns that have ended.
        open_campaign_ids: campaigns that have it and have not ended.
        uploads: campaigns whose uploads refused it.
        last: the last campaign that was looked at; None: there are no more.
    """

    messages: Sequence[tuple[int, int]]
    open_campaign_ids: Sequence[str]
    uploads: Sequence[int]
    last: int | None


class Erased(NamedTuple):
    """How many recipients and outcomes were erased."""

    recipients: int
    outcomes: int


def look(
    connection: sa.Connection,
    organisation: str,
    address: str,
    *,
    after: int,
    forms: Callable[[str], Collection[str]],
) -> Found:
    """Find an address in the next campaigns of an organisation.

    Args:
        connection: on a snapshot.
        organisation: whose.
        address: as somebody wrote it.
        after: the number of the campaign that the look before ended with.
        forms: returns for a channel how it may have stored the address.
    """
    columns = campaigns.c
    rows = connection.execute(
        sa.select(columns.campaign, columns.campaign_id, columns.channel, columns.phase)
        .where(columns.organisation == organisation, columns.campaign > after)
        .order_by(columns.campaign)
        .limit(CAMPAIGNS_AT_ONCE)
    ).all()
    messages: list[tuple[int, int]] = []
    still_open = []
    for row in rows:
        sequences = connection.scalars(
            sa.select(recipients.c.sequence).where(
                recipients.c.campaign == row.campaign,
                recipients.c.address.in_(sorted(forms(row.channel))),
            )
        ).all()
        if row.phase == Phase.FINISHED:
            messages += [(row.campaign, sequence) for sequence in sequences]
        elif sequences:
            still_open.append(row.campaign_id)
    refused = connection.scalars(
        sa.select(uploads.c.campaign)
        .where(
            uploads.c.campaign.in_([row.campaign for row in rows]),
            sa.func.lower(uploads.c.rejected_rows).contains(address.lower(), autoescape=True),
        )
        .distinct()
    ).all()
    is_last = len(rows) < CAMPAIGNS_AT_ONCE
    return Found(messages, still_open, refused, None if is_last else rows[-1].campaign)


def count(connection: sa.Connection, found: Found) -> Erased:
    """Return what :func:`erase` would erase."""
    with_outcome = sum(
        connection.scalar(sa.select(sa.func.count()).where(_is(outcomes, *message))) or 0
        for message in found.messages
    )
    return Erased(len(found.messages), with_outcome)


def erase(connection: sa.Connection, address: str, found: Found) -> Erased:
    """Erase the people that :func:`look` found; each keeps number and outcome, and no more."""
    gone = Erased(0, 0)
    for campaign, sequence in found.messages:
        erased = connection.execute(
            sa.update(recipients)
            .where(_is(recipients, campaign, sequence))
            .values(address=f"{ERASED_PREFIX}{sequence}]", recipient_key="", fields="{}")
        )
        told = connection.execute(
            sa.update(outcomes)
            .where(_is(outcomes, campaign, sequence))
            .values(detail="", provider_message_id="")
        )
        gone = Erased(gone.recipients + erased.rowcount, gone.outcomes + told.rowcount)
    pattern = re.compile(re.escape(address), re.IGNORECASE)
    refused = sa.select(uploads).where(uploads.c.campaign.in_(found.uploads))
    for row in connection.execute(refused).all():
        connection.execute(
            sa.update(uploads)
            .where(uploads.c.campaign == row.campaign, uploads.c.upload_id == row.upload_id)
            .values(rejected_rows=pattern.sub(_ERASED, row.rejected_rows))
        )
    return gone


def _is(table: sa.Table, campaign: int, sequence: int) -> sa.ColumnElement[bool]:
    columns: Any = table.c
    return sa.and_(columns.campaign == campaign, columns.sequence == sequence)
