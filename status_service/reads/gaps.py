"""Messages without a result, found by looking at a bounded number of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from status_service.recording import result_rows
from status_service.schema import results

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Results that are looked at together.
_WINDOW = 20_000
#: So many windows are looked at: for a screen, and for a page of the list of ranges.
SCREEN_WINDOWS, PAGE_WINDOWS = 25, 100


class Gaps(NamedTuple):
    """Ranges of messages without a result, both ends included.

    Attributes:
        ranges: the first ones, in order.
        stopped_at: the message at which looking stopped before the end and before there
            were as many ranges as asked for; None: it did not.
    """

    ranges: Sequence[tuple[int, int]]
    stopped_at: int | None


def find(
    connection: sa.Connection,
    campaign: int,
    total: int,
    *,
    limit: int,
    after: int = 0,
    most_windows: int = SCREEN_WINDOWS,
) -> Gaps:
    """Return the first ranges of messages without a result, as far as they are found soon.

    Args:
        connection: on a snapshot.
        campaign: its number.
        total: how many messages it has.
        limit: at most so many ranges.
        after: only messages behind this one.
        most_windows: at most so many windows of results are looked at.
    """
    found: list[tuple[int, int]] = []
    begin = after
    for _ in range(most_windows):
        # A result this many places behind another is this many messages behind it, unless
        # a message between them has none. The order makes PostgreSQL use the key, where
        # it would take the first messages of a campaign for half of all results.
        end: int | None = connection.execute(
            _PLACE, {"campaign": campaign, "after": begin, "places": _WINDOW - 1}
        ).scalar_one_or_none()
        until = total if end is None else min(end, total)
        if until - begin != _WINDOW or end is None:
            left = limit - len(found)
            found += result_rows.missing_ranges(
                connection, campaign, until, after=begin, limit=left
            )
        if until == total or len(found) == limit:
            return Gaps(found, None)
        begin = until
    return Gaps(found, begin)


def _place() -> sa.Executable:
    """Return the query of the result some places behind another."""
    sequence = results.c.sequence
    return (
        sa.select(sequence)
        .where(
            results.c.campaign == sa.bindparam("campaign", type_=sa.BigInteger),
            sequence > sa.bindparam("after", type_=sa.BigInteger),
        )
        .order_by(sequence)
        .offset(sa.bindparam("places", type_=sa.BigInteger))
        .limit(1)
    )


_PLACE = _place()
