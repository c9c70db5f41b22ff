"""Messages that are left out of a campaign: they end as SKIPPED, and no provider sees them.

Their outcome is written in the commit that raises the high-water mark over them, so
they are never in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Outcome
from sender_service.store import bulk, outbox
from sender_service.store.schema import campaigns, left_out

if TYPE_CHECKING:
    from collections.abc import Collection

CODE = "already_sent"
#: Messages that one commit leaves out, about; more wait for the next one.
_A_COMMIT = 1_000
_mine = campaigns.alias("mine")
_earlier = campaigns.alias("earlier")

#: A message of ``left_out`` that counts, with the campaign that its person gets instead.
ENTRIES = left_out.join(
    _mine,
    sa.and_(_mine.c.campaign == left_out.c.campaign, _mine.c.left_out_list == left_out.c.list),
).join(_earlier, _earlier.c.campaign == left_out.c.earlier)
#: Why a message of ``ENTRIES`` is left out, for people.
DETAIL = "this address gets campaign " + _earlier.c.campaign_id + ", which is of the same family"


class Omission(NamedTuple):
    """Up to which message a shard goes on, and why messages up to it are left out."""

    through: int
    messages: Mapping[int, str]


def within(connection: sa.Connection, campaign: int, first: int, last: int) -> dict[int, str]:
    """Return why messages from ``first`` to ``last`` are left out, by sequence in order."""
    rows = connection.execute(
        sa.select(left_out.c.sequence, DETAIL)
        .select_from(ENTRIES)
        .where(left_out.c.campaign == campaign, left_out.c.sequence.between(first, last))
        .order_by(left_out.c.sequence)
    )
    return {row[0]: row[1] for row in rows}


def find(connection: sa.Connection, campaign: int, first: int, last: int, take: int) -> Omission:
    """Return how far ``take`` messages that are not left out go, and which others are passed.

    Args:
        connection: in a write transaction.
        campaign: its number.
        first: the next message of the shard.
        last: the last one.
        take: how many may be taken; of 0 nothing is passed either.
    """
    if take == 0 or first > last:
        return Omission(first - 1, {})
    furthest = min(first - 1 + take + _A_COMMIT, last)
    found = within(connection, campaign, first, furthest)
    through = reach(found, after=first - 1, take=take, furthest=furthest)
    return Omission(through, {number: why for number, why in found.items() if number <= through})


def end(
    connection: sa.Connection,
    campaign: int,
    shard: int,
    messages: Mapping[int, str],
    row: sa.Row[Any],
) -> None:
    """Append the outcomes of messages that are left out; the caller counts them.

    ``row`` is the shard's, with the time of the database as ``now``.
    """
    time = bulk.microseconds(row.now)
    outcomes = [
        (sequence, Outcome.SKIPPED.value, 0, CODE, detail, "", time)
        for sequence, detail in messages.items()
    ]
    outbox.append(connection, campaign, shard, outcomes, first_entry=row.journaled + 1)


def reach(left_out_sequences: Collection[int], *, after: int, take: int, furthest: int) -> int:
    """Return the highest sequence so that ``take`` messages up to it are not left out.

    Args:
        left_out_sequences: in order, all above ``after`` and up to ``furthest``.
        after: the last sequence that was taken.
        take: how many may be taken.
        furthest: the highest sequence that may be returned.
    """
    through, free = after, take
    for sequence in left_out_sequences:
        between = sequence - through - 1
        if between > free:
            break
        through, free = sequence, free - between
    return min(through + free, furthest)


def forget_lists(connection: sa.Connection, campaign: int, *, limit: int) -> int:
    """Delete entries of lists that do not count, about ``limit``; return how many.

    A call that was refused, or that broke off, leaves such a list. The list that counts
    is passed over by its key, and its length does not matter.
    """
    number = connection.execute(
        sa.select(campaigns.c.left_out_list).where(campaigns.c.campaign == campaign)
    ).scalar_one()
    deleted = 0
    if number is None:
        others: list[sa.ColumnElement[bool]] = [sa.true()]
    else:
        others = [left_out.c.list < number, left_out.c.list > number]
    for other in others:
        stale = (
            sa.select(left_out.c.list, left_out.c.sequence)
            .where(left_out.c.campaign == campaign, other)
            .limit(limit)
        )
        deleted += connection.execute(
            sa.delete(left_out).where(
                left_out.c.campaign == campaign,
                sa.tuple_(left_out.c.list, left_out.c.sequence).in_(stale),
            )
        ).rowcount
    return deleted
