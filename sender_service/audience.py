"""Who a message goes to: the audience as it is stored, asked by sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from sender_service.errors import CampaignNotFoundError
from sender_service.schema import campaigns, recipients
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

#: Sequences one call may ask for.
MAX_SEQUENCES = 1_000


class Addressee(NamedTuple):
    """Who a message goes to; ``recipient_key`` is the caller's own id, or empty."""

    sequence: int
    address: str
    recipient_key: str


def check_sequences(sequences: Collection[int]) -> None:
    """Check how many are asked for.

    Raises:
        InvalidRequestError: none, or too many.
    """
    if not 1 <= len(sequences) <= MAX_SEQUENCES:
        raise InvalidRequestError.of({"sequences": f"1 to {MAX_SEQUENCES:,} of them"})


def read_recipients(
    connection: sa.Connection, organisation: str, campaign_id: str, sequences: Collection[int]
) -> list[Addressee]:
    """Return who the messages go to, in order of sequence; those that don't exist are left out.

    Raises:
        CampaignNotFoundError: there is none.
    """
    # The outer join tells a campaign without these sequences (one row of nulls)
    # from one that is not there (no row).
    asked_for = sa.and_(
        recipients.c.campaign == campaigns.c.campaign,
        recipients.c.sequence.in_(sorted(set(sequences))),
    )
    rows = connection.execute(
        sa.select(recipients.c.sequence, recipients.c.address, recipients.c.recipient_key)
        .select_from(campaigns.outerjoin(recipients, asked_for))
        .where(campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id)
        .order_by(recipients.c.sequence)
    ).all()
    if not rows:
        raise CampaignNotFoundError(campaign_id)
    return [Addressee(*row) for row in rows if row.sequence is not None]
