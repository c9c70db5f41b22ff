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
    if outcomes and Outcome.SENT not in outcomes:
        ways = [_Way(campaign, after, one) for one in sorted(set(outcomes))]
        filters = _Filters([], codes)
    else:
        ways = [_Way(campaign, after, None)]
        filters = _Filters(outcomes, codes)
    last = _end_of_look(connection, ways) if any(filters) else None
    rows = [row for way in ways for row in connection.execute(_first(way, filters, last, limit))]
    return SomeResults(sorted(rows, key=lambda row: row.sequence)[:limit], last)


class _Way(NamedTuple):
    """Where to look: behind a message, and at one outcome that is not SENT; None: at all."""

    campaign: int
    after: int
    outcome: int | None

    def sequences(self) -> sa.Select[int]:
        """Return the query of the messages, in order."""
        looked = results.alias("looked")
        columns = looked.c
        query = sa.select(columns.sequence).where(
            columns.campaign == self.campaign, columns.sequence > self.after
        )
        if self.outcome is not None:
            query = query.where(columns.outcome == self.outcome, NOT_SENT)
        return query.order_by(columns.sequence)

    def first(self, number: int) -> sa.Select[Any]:
        """Return the query of so many results, in order."""
        query = sa.select(results).where(_COLUMNS.campaign == self.campaign)
        if self.outcome is None:
            query = query.where(_COLUMNS.sequence > self.after).limit(number)
        else:
            # SQLite would go through all that is SENT for whole rows, which no index has.
            query = query.where(_COLUMNS.sequence.in_(self.sequences().limit(number)))
        return query.order_by(_COLUMNS.sequence)


class _Filters(NamedTuple):
    """What is left to look at in each result; empty: any."""

    outcomes: Sequence[int]
    codes: Sequence[str]


def _first(way: _Way, filters: _Filters, last: int | None, limit: int) -> sa.Select[Any]:
    """Return the query of the first results on one way, up to the message ``last``."""
    if not any(filters):
        return way.first(limit)
    # The inner limit makes PostgreSQL look in the order of an index, where it would take
    # the first messages of one campaign for most of all results.
    looked_at = way.first(_LOOKED_AT).subquery("looked_at")
    found = sa.select(looked_at).order_by(looked_at.c.sequence).limit(limit)
    if filters.outcomes:
        found = found.where(looked_at.c.outcome.in_(sorted(filters.outcomes)))
    if filters.codes:
        found = found.where(looked_at.c.code.in_(sorted(filters.codes)))
    return found if last is None else found.where(looked_at.c.sequence <= last)


def _end_of_look(connection: sa.Connection, ways: Sequence[_Way]) -> int | None:
    """Return the last of the results that are looked at; None: all are."""
    ends = [connection.scalar(way.sequences().offset(_LOOKED_AT - 1).limit(1)) for way in ways]
    return min((end for end in ends if end is not None), default=None)
