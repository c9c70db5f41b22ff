"""The first messages without a result, found by looking at a bounded number of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from status_service.recording import result_rows
from status_service.schema import results

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Messages that are looked at together. To find that none of them lacks a result is fast.
_WINDOW = 20_000
#: So many windows without a gap are passed over.
_MOST_WINDOWS = 25


def first_gaps(
    connection: sa.Connection, campaign: int, total: int, *, limit: int
) -> Sequence[tuple[int, int]]:
    """Return the first ranges of messages without a result, as far as they are found soon.

    Both ends are included. The last one may end before its gap does, and there may be none
    although messages further behind have no result: ``result_rows.missing_ranges`` finds
    all of them, and looks at every result.

    Args:
        connection: on a snapshot.
        campaign: its number.
        total: how many messages it has.
        limit: at most so many ranges.
    """
    sequence = results.c.sequence
    counting = sa.select(sa.func.count()).where(
        results.c.campaign == campaign,
        sequence.between(sa.bindparam("first"), sa.bindparam("last")),
    )
    begin = 0
    for _ in range(_MOST_WINDOWS):
        end = min(begin + _WINDOW, total)
        stored = connection.execute(counting, {"first": begin + 1, "last": end}).scalar_one()
        if stored < end - begin or end == total:
            break
        begin = end
    stored_there = connection.execute(
        sa.select(sequence)
        .where(results.c.campaign == campaign, sequence > begin)
        .order_by(sequence)
        .offset(_WINDOW)
        .limit(1)
    ).scalar_one_or_none()
    until = total if stored_there is None else stored_there
    return result_rows.missing_ranges(connection, campaign, until, after=begin, limit=limit)
