"""The rows of results: look up, insert or raise, count, find gaps.

All of it works inside a transaction its caller holds. Inserting is the one place
whose speed decides the speed of the service: few large statements, each one call
into the driver, since a thread that comes back to Python waits for the interpreter
each time.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import sqlalchemy as sa

from service_runtime.database import UtcTime
from status_service.domain import Counters, Outcome
from status_service.result_arrays import integers, texts
from status_service.schema import results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: (sequence, outcome, attempt, code, detail, provider_message_id, finish_time), the
#: time in microseconds since 1970 or None. A tuple, since a frame has hundreds.
ResultRow: TypeAlias = tuple[int, int, int, str, str, str, int | None]

#: The columns of a ResultRow; ``campaign`` and ``record_time`` are the same for all.
_GIVEN = (
    "sequence",
    "outcome",
    "attempt",
    "code",
    "detail",
    "provider_message_id",
    "finish_time",
)
#: Rows of one INSERT; SQLite takes 32,766 values in a statement.
_ROWS_A_STATEMENT = 1_000
#: Where the sequences asked for are this much sparser than a range, look each up.
_SPARSE = 8
_LOOKUPS_A_STATEMENT = 1_000
_TIME = UtcTime()

# Built once: building a statement takes longer than running it.
_STORED = sa.select(results.c.sequence, results.c.outcome).where(
    results.c.campaign == sa.bindparam("number")
)
_STORED_BETWEEN = _STORED.where(
    results.c.sequence.between(sa.bindparam("first"), sa.bindparam("last"))
)
_STORED_AMONG = _STORED.where(results.c.sequence.in_(sa.bindparam("sequences", expanding=True)))


def stored_outcomes(
    connection: sa.Connection, campaign: int, sequences: Sequence[int]
) -> dict[int, int]:
    """Return the stored outcome of those of ``sequences`` that have one.

    May return outcomes of other sequences between them.
    """
    if not sequences:
        return {}
    first, last = min(sequences), max(sequences)
    if last - first < _SPARSE * len(sequences):
        rows = connection.execute(
            _STORED_BETWEEN, {"number": campaign, "first": first, "last": last}
        )
        return dict(rows.all())
    found: dict[int, int] = {}
    for start in range(0, len(sequences), _LOOKUPS_A_STATEMENT):
        part = list(sequences[start : start + _LOOKUPS_A_STATEMENT])
        rows = connection.execute(_STORED_AMONG, {"number": campaign, "sequences": part})
        found.update(rows.all())
    return found


def upsert(
    connection: sa.Connection,
    campaign: int,
    rows: Sequence[ResultRow],
    now: datetime,
    *,
    all_new: bool = False,
) -> None:
    """Insert results, or replace those stored with a lower outcome.

    Args:
        connection: in a transaction that holds the campaign locked.
        campaign: its number.
        rows: the results, each message once.
        now: the database's time.
        all_new: the caller found that none is stored. Then it is a plain INSERT: to
            look for a conflict costs PostgreSQL half as much again.

    Raises:
        IntegrityError: a row was there although ``all_new``, as after an insert by hand.
        RuntimeError: a row did not change anything, although the caller, who holds
            the campaign locked, found that it must. A defect; nothing is kept.
    """
    record_time = _TIME.process_bind_param(now, connection.dialect)
    arrays = connection.dialect.name == "postgresql"
    raising = "" if all_new else _RAISE
    at_once = max(len(rows), 1) if arrays else _ROWS_A_STATEMENT
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        statement = (_INSERT_ARRAYS if arrays else _insert_sql(len(part))) + raising
        values = _columns(part) if arrays else chain.from_iterable(part)
        changed = connection.exec_driver_sql(statement, (campaign, record_time, *values)).rowcount
        if changed != len(part):
            raise RuntimeError(f"{changed} of {len(part)} results of campaign {campaign} stored")


_RAISE = (
    " ON CONFLICT (campaign, sequence) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in ("record_time", *_GIVEN[1:]))
    + " WHERE excluded.outcome > results.outcome"
)
_INSERT = f"INSERT INTO results (campaign, record_time, {', '.join(_GIVEN)})"


@cache
def _insert_sql(rows: int) -> str:
    row = f"(?1, ?2, {', '.join('?' * len(_GIVEN))})"
    return f"{_INSERT} VALUES {', '.join([row] * rows)}"


_INSERT_ARRAYS = (
    f"{_INSERT} SELECT %s::bigint, %s::bigint, given.* FROM unnest(%s::bigint[],"  # noqa: S608 - no input
    " %s::smallint[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::bigint[])"
    " AS given"
)


def _columns(rows: Sequence[ResultRow]) -> tuple[str, ...]:
    """Return the columns of ``rows`` as array literals, in the order of a row."""
    sequences, outcomes, attempts, *of_text, times = zip(*rows, strict=True)
    return (
        integers(sequences),
        integers(outcomes),
        integers(attempts),
        *map(texts, of_text),
        integers(times),
    )


def count(connection: sa.Connection, campaign: int, total: int) -> Counters:
    """Return how many of the messages 1..``total`` have each outcome.

    One pass with a counter for each outcome: a GROUP BY makes SQLite sort the
    outcomes of all rows, in memory.
    """
    numbers = connection.execute(
        sa.select(
            *(sa.func.count().filter(results.c.outcome == outcome) for outcome in Outcome)
        ).where(results.c.campaign == campaign, results.c.sequence <= total)
    ).one()
    return Counters.of(dict(zip(Outcome, numbers, strict=True)))


def missing_ranges(
    connection: sa.Connection, campaign: int, total: int, *, after: int = 0, limit: int
) -> list[tuple[int, int]]:
    """Return the first ranges of sequences above ``after`` that have no result.

    Both ends are included. At most ``limit`` ranges.
    """
    # Between two neighbours of (after, stored sequences, total + 1) lies a gap
    # wherever they are more than one apart.
    stored = sa.select(results.c.sequence).where(
        results.c.campaign == campaign, results.c.sequence.between(after + 1, total)
    )
    bounded = stored.union_all(sa.select(sa.literal(total + 1))).subquery()
    sequence = bounded.c.sequence
    neighbours = sa.select(
        sequence, sa.func.lag(sequence, 1, after).over(order_by=sequence).label("before")
    ).subquery()
    gaps = (
        sa.select(neighbours.c.before + 1, neighbours.c.sequence - 1)
        .where(neighbours.c.sequence > neighbours.c.before + 1)
        .order_by(neighbours.c.sequence)
        .limit(limit)
    )
    return [(first, last) for first, last in connection.execute(gaps)]
