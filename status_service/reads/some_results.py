"""The first results of some outcomes and codes, by looking at a bounded number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from status_service.domain import Outcome
from status_service.schema import NOT_SENT, results

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Results that are looked at for those that no index has: by a code, or SENT ones.
_LOOKED_AT = 100_000
_COLUMNS = results.c


class SomeResults(NamedTuple):
    """Results in order of sequence.

    Attributes:
        rows: rows of ``results``.
        stopped_at: the message at which looking stopped; None: all were looked at.
    """

    rows: Sequence[sa.Row[Any]]
    stopped_at: int | None


def find(
    connection: sa.Connection,
    campaign: int,
    *,
    after: int,
    limit: int,
    outcomes: Sequence[int],
    codes: Sequence[str],
) -> SomeResults:
    """Return the first results of a campaign that have one of ``outcomes`` and of ``codes``.

    What is not SENT is found by its outcome, however many results are SENT.

    Args:
        connection: on a snapshot.
        campaign: its number.
        after: only messages behind this one.
        limit: at most so many.
        outcomes: empty: all.
        codes: empty: all.
    """
    behind = sa.and_(_COLUMNS.campaign == campaign, _COLUMNS.sequence > after)
    if outcomes and Outcome.SENT not in outcomes:
        ways = [sa.and_(behind, _COLUMNS.outcome == one, NOT_SENT) for one in sorted(set(outcomes))]
        filters = _Filters([], codes)
    else:
        ways = [behind]
        filters = _Filters(outcomes, codes)
    last = _end_of_look(connection, ways) if any(filters) else None
    rows = [row for way in ways for row in connection.execute(_first(way, filters, last, limit))]
    return SomeResults(sorted(rows, key=lambda row: row.sequence)[:limit], last)


class _Filters(NamedTuple):
    """What is left to look at in each result; empty: any."""

    outcomes: Sequence[int]
    codes: Sequence[str]


def _first(
    way: sa.ColumnElement[bool], filters: _Filters, last: int | None, limit: int
) -> sa.Select[Any]:
    """Return the query of the first results on one way, up to the message ``last``."""
    query = sa.select(results).where(way).order_by(_COLUMNS.sequence)
    if not any(filters):
        return query.limit(limit)
    # The inner limit makes PostgreSQL look in the order of an index, where it would take
    # the first messages of one campaign for most of all results.
    looked_at = query.limit(_LOOKED_AT).subquery("looked_at")
    found = sa.select(looked_at).order_by(looked_at.c.sequence).limit(limit)
    if filters.outcomes:
        found = found.where(looked_at.c.outcome.in_(sorted(filters.outcomes)))
    if filters.codes:
        found = found.where(looked_at.c.code.in_(sorted(filters.codes)))
    return found if last is None else found.where(looked_at.c.sequence <= last)


def _end_of_look(connection: sa.Connection, ways: Sequence[sa.ColumnElement[bool]]) -> int | None:
    """Return the last of the results that are looked at; None: all are."""
    ends = [
        connection.execute(
            sa.select(_COLUMNS.sequence)
            .where(way)
            .order_by(_COLUMNS.sequence)
            .offset(_LOOKED_AT - 1)
            .limit(1)
        ).scalar_one_or_none()
        for way in ways
    ]
    return min((end for end in ends if end is not None), default=None)
