"""Messages without a result, found by looking at a bounded number of results."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from status_service.schema import results

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Results that are looked at together.
_WINDOW = 20_000
#: On SQLite, of these results so many at a time are skipped where none is missing between.
_CHUNK = 100
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
    most_windows: int | None = SCREEN_WINDOWS,
    enough: int | None = None,
) -> Gaps:
    """Return the first ranges of messages without a result, as far as they are found soon.

    Args:
        connection: on a snapshot.
        campaign: its number.
        total: how many messages it has.
        limit: at most so many ranges.
        after: only messages behind this one.
        most_windows: at most so many windows of results are looked at; None: all, which
            grows with the campaign.
        enough: nothing more is looked for once the ranges have so many messages; None: in
            any case.
    """
    found: list[tuple[int, int]] = []
    begin = after
    for _ in count() if most_windows is None else range(most_windows):
        # A result this many places behind another is this many messages behind it, unless
        # a message between them has none. The order makes PostgreSQL use the key, where
        # it would take the first messages of a campaign for half of all results.
        end: int | None = connection.execute(
            _PLACE, {"campaign": campaign, "after": begin, "places": _WINDOW - 1}
        ).scalar_one_or_none()
        until = total if end is None else min(end, total)
        if until - begin != _WINDOW or end is None:
            left = limit - len(found)
            found += missing_ranges(connection, campaign, until, after=begin, limit=left)
        if until == total or len(found) == limit:
            return Gaps(found, None)
        begin = until
        if enough is not None and found and messages_in(found) >= enough:
            break
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


def first_messages(
    ranges: Sequence[tuple[int, int]], most: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Cut ranges after ``most`` messages; return those before the cut, and those behind it."""
    taken: list[tuple[int, int]] = []
    left = most
    for place, (first, last) in enumerate(ranges):
        size = last - first + 1
        if size > left:
            if left:
                taken.append((first, first + left - 1))
            return taken, [(first + left, last), *ranges[place + 1 :]]
        taken.append((first, last))
        left -= size
    return taken, []


def messages_in(ranges: Sequence[tuple[int, int]]) -> int:
    """Return how many messages ranges have."""
    return sum(last - first + 1 for first, last in ranges)


def missing_ranges(
    connection: sa.Connection, campaign: int, total: int, *, after: int, limit: int
) -> list[tuple[int, int]]:
    """Return the first ranges of sequences above ``after`` that have no result.

    Both ends are included. At most ``limit`` ranges.
    """
    # Between two neighbours of (after, stored sequences, total + 1) lies a gap
    # wherever they are more than one apart.
    bounds = {"campaign": campaign, "after": after, "until": total}
    if connection.dialect.name == "sqlite":
        rows = connection.execute(_SQLITE_GAPS, bounds | {"most": limit, "chunk": _CHUNK})
    else:
        rows = connection.execute(_GAPS, bounds | {"most": limit})
    gaps = [(first, last) for first, last in rows]
    if len(gaps) < limit:
        end = connection.execute(_LAST, bounds).scalar_one()
        last = after if end is None else end
        if last < total:
            gaps.append((last + 1, total))
    return gaps


def _gaps() -> tuple[sa.Executable, sa.Executable]:
    """Return the query of gaps before a stored result, and that of the last result.

    The rows come in the order of the key, so the first gaps are found without the others.
    """
    sequence = results.c.sequence
    after, until = (sa.bindparam(name, type_=sa.BigInteger) for name in ("after", "until"))
    stored = (
        results.c.campaign == sa.bindparam("campaign", type_=sa.BigInteger),
        sequence > after,
        sequence <= until,
    )
    neighbours = (
        sa.select(sequence, sa.func.lag(sequence, 1, after).over(order_by=sequence).label("before"))
        .where(*stored)
        .subquery()
    )
    gaps = (
        sa.select(neighbours.c.before + 1, neighbours.c.sequence - 1)
        .where(neighbours.c.sequence > neighbours.c.before + 1)
        .order_by(neighbours.c.sequence)
        .limit(sa.bindparam("most", type_=sa.BigInteger))
    )
    return gaps, sa.select(sa.func.max(sequence)).where(*stored)


_GAPS, _LAST = _gaps()


# A window function takes SQLite a microsecond for each row, which is twenty times what it
# takes to count one: only where a chunk has gaps are its neighbours looked up.
_SQLITE_GAPS = sa.text("""
WITH RECURSIVE chunks (first, last) AS (
    SELECT :after, (SELECT sequence FROM results
        WHERE campaign = :campaign AND sequence > :after AND sequence <= :until
        ORDER BY sequence LIMIT 1 OFFSET :chunk - 1)
    UNION ALL
    SELECT last, (SELECT sequence FROM results
        WHERE campaign = :campaign AND sequence > last AND sequence <= :until
        ORDER BY sequence LIMIT 1 OFFSET :chunk - 1)
    FROM chunks WHERE last < :until
), short (first, last) AS (
    SELECT first, coalesce(last, :until + 1) FROM chunks
    WHERE last IS NULL OR last - first <> :chunk
), neighbours (before, sequence) AS (
    SELECT before, (SELECT sequence FROM results
        WHERE campaign = :campaign AND sequence > before AND sequence <= :until
        ORDER BY sequence LIMIT 1)
    FROM (
        SELECT first AS before FROM short
        UNION ALL
        SELECT sequence FROM short CROSS JOIN results
        WHERE campaign = :campaign AND sequence > first AND sequence < last
    )
)
SELECT before + 1, sequence - 1 FROM neighbours WHERE sequence > before + 1
ORDER BY sequence LIMIT :most
""")
