"""The rows of results: insert or raise, fill, count.

All of it works inside a transaction its caller holds. Inserting is the one place
whose speed decides the speed of the service: few large statements, each one call
into the driver, since a thread that comes back to Python waits for the interpreter
each time.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING

import sqlalchemy as sa

from service_runtime.copying import copy_in
from service_runtime.database_time import UtcTime
from status_service.domain import Counters, Outcome
from status_service.recording.result_columns import ResultColumns, array, integers
from status_service.schema import NOT_SENT, campaigns, results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: ``campaign`` and ``record_time`` are the same for all.
_GIVEN = ResultColumns._fields
#: Rows of one INSERT; SQLite takes 32,766 values in a statement.
_ROWS_A_STATEMENT = 1_000
_TIME = UtcTime()


def upsert(
    connection: sa.Connection,
    given: Sequence[tuple[int, ResultColumns]],
    now: datetime,
    *,
    all_new: bool,
) -> None:
    """Insert results, or replace those stored with a lower outcome.

    Args:
        connection: in a transaction that holds the campaigns locked.
        given: numbers of campaigns with results of them, each message once.
        now: the database's time.
        all_new: the caller found that none is stored. Then PostgreSQL copies them, in half the
            time of an INSERT; one that looks for conflicts takes half as much again.

    Raises:
        IntegrityError: a row was there although ``all_new``, as after an insert by hand.
        RuntimeError: a row did not change anything, although the caller, who holds
            the campaign locked, found that it must. A defect; nothing is kept.
    """
    if not given:
        return
    record_time = _TIME.process_bind_param(now, connection.dialect)
    if connection.dialect.name != "postgresql":
        changed = _insert_values(connection, given, record_time, "" if all_new else _RAISE)
    elif all_new:
        changed = _copy(connection, given, record_time)
    else:
        changed = _raise_arrays(connection, given, record_time)
    rows = sum(results.size for _, results in given)
    if changed != rows:
        raise RuntimeError(f"{changed} of {rows} results stored")


_RAISE = (
    " ON CONFLICT (campaign, sequence) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in ("record_time", *_GIVEN[1:]))
    + " WHERE excluded.outcome > results.outcome"
)
_INTO = f"results (record_time, campaign, {', '.join(_GIVEN)})"
_INSERT = f"INSERT INTO {_INTO}"


def _insert_values(
    connection: sa.Connection,
    given: Sequence[tuple[int, ResultColumns]],
    record_time: int | None,
    raising: str,
) -> int:
    """Insert row by row, many rows a statement; return how many rows changed."""
    rows = chain.from_iterable(
        zip(repeat(number, part.size), *part, strict=True) for number, part in given
    )
    changed = 0
    while part := list(islice(rows, _ROWS_A_STATEMENT)):
        values = (record_time, *chain.from_iterable(part))
        statement = _values_sql(len(part)) + raising
        changed += connection.exec_driver_sql(statement, values).rowcount
    return changed


@cache
def _values_sql(rows: int) -> str:
    row = f"(?1, ?, {', '.join('?' * len(_GIVEN))})"
    return f"{_INSERT} VALUES {', '.join([row] * rows)}"


def _copy(
    connection: sa.Connection,
    given: Sequence[tuple[int, ResultColumns]],
    record_time: int | None,
) -> int:
    """Add rows of which none is there; return how many."""
    lines = []
    for number, part in given:
        same = f"{record_time}\t{number}\t"
        lines.append(same + part.lines.replace("\n", f"\n{same}"))
    return copy_in(connection, f"COPY {_INTO} FROM STDIN", "\n".join(lines))


def _raise_arrays(
    connection: sa.Connection,
    given: Sequence[tuple[int, ResultColumns]],
    record_time: int | None,
) -> int:
    """Insert rows or raise them by one statement; return how many rows changed."""
    parts = ((integers([number] * part.size), *part.arrays) for number, part in given)
    arrays = map(array, zip(*parts, strict=True))
    return connection.exec_driver_sql(_RAISE_ARRAYS, (record_time, *arrays)).rowcount


_RAISE_ARRAYS = (
    f"{_INSERT} SELECT %s::bigint, given.* FROM unnest(%s::bigint[], %s::bigint[],"  # noqa: S608 - no input
    " %s::smallint[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::bigint[])"
    f" AS given{_RAISE}"
)


def fill(
    connection: sa.Connection,
    campaign: int,
    ranges: Sequence[tuple[int, int]],
    *,
    outcome: Outcome,
    code: str,
    now: datetime,
) -> int:
    """Give the messages of ranges an outcome that have none, by one statement.

    Args:
        connection: in a transaction that holds the campaign locked.
        campaign: its number.
        ranges: of messages, both ends included.
        outcome: for all of them.
        code: for all of them.
        now: the database's time.

    Returns:
        How many had no result.
    """
    values = {
        "campaign": campaign,
        "outcome": int(outcome),
        "code": code,
        "record_time": _TIME.process_bind_param(now, connection.dialect),
        "ranges": json.dumps(ranges),
    }
    return connection.execute(_FILL[connection.dialect.name], values).rowcount


def _filling(numbers: str) -> sa.Executable:
    """Return the statement for messages that the database takes from ``numbers``."""
    types = {
        "campaign": sa.BigInteger,
        "outcome": sa.SmallInteger,
        "code": sa.Text,
        "record_time": sa.BigInteger,
        "ranges": sa.Text,
    }
    statement = (
        "INSERT INTO results (campaign, sequence, outcome, attempt, code, detail,"  # noqa: S608 - no input
        " provider_message_id, record_time) SELECT CAST(:campaign AS BIGINT), number,"
        " CAST(:outcome AS SMALLINT), 0, CAST(:code AS TEXT), '', '',"
        f" CAST(:record_time AS BIGINT) FROM {numbers} WHERE true"
        " ON CONFLICT (campaign, sequence) DO NOTHING"
    )
    return sa.text(statement).bindparams(
        *(sa.bindparam(name, type_=type_) for name, type_ in types.items())
    )


_FILL = {
    "sqlite": _filling(
        "(WITH RECURSIVE filled (number, last) AS ("
        "SELECT value ->> 0, value ->> 1 FROM json_each(:ranges)"
        " UNION ALL SELECT number + 1, last FROM filled WHERE number < last)"
        " SELECT number FROM filled)"
    ),
    "postgresql": _filling(
        "json_array_elements(CAST(:ranges AS JSON)) AS pairs (pair),"
        " generate_series(CAST(pair ->> 0 AS BIGINT), CAST(pair ->> 1 AS BIGINT))"
        " AS filled (number)"
    ),
}


def count(connection: sa.Connection, campaign: int, total: int) -> Counters:
    """Return how many of the messages 1..``total`` have each outcome.

    It reads indexes alone: the key for how many there are, and the index of what is not
    SENT for the others.
    """
    values = {"counted": campaign, "until": total}
    return _counters(*connection.execute(_COUNT, values).one())


def _counts(
    campaign: sa.ColumnElement[int], total: sa.ColumnElement[int]
) -> list[sa.ScalarSelect[int]]:
    """Return the columns of a query: how many results, and how many of each not SENT."""
    stored = sa.select(sa.func.count()).where(
        results.c.campaign == campaign, results.c.sequence <= total
    )
    return [
        stored.scalar_subquery(),
        *(
            stored.where(results.c.outcome == outcome, NOT_SENT).scalar_subquery()
            for outcome in _NOT_SENT
        ),
    ]


def _counters(stored: int, *others: int) -> Counters:
    return Counters.of(
        {Outcome.SENT: stored - sum(others), **dict(zip(_NOT_SENT, others, strict=True))}
    )


_NOT_SENT = (Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.FAILED)
_COUNT = sa.select(
    *_counts(
        sa.bindparam("counted", type_=sa.BigInteger), sa.bindparam("until", type_=sa.BigInteger)
    )
)


def count_many(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, Counters]:
    """Return :func:`count` for each of several campaigns.

    Args:
        connection: on a snapshot.
        numbers: campaigns that are sealed.
    """
    if not numbers:
        return {}
    rows = connection.execute(_COUNT_MANY, {"numbers": list(numbers)})
    return {number: _counters(*counted) for number, *counted in rows}


_COUNT_MANY = sa.select(
    campaigns.c.campaign, *_counts(campaigns.c.campaign, campaigns.c.total)
).where(campaigns.c.campaign.in_(sa.bindparam("numbers", expanding=True)))
