"""Many rows in few calls into the driver.

A thread that comes back to Python for every row starves beside a busy event loop
(docs/decisions.md has the measurements), so rows go into one statement by the
hundred, as plain tuples.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy as sa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Rows of a statement, largest first. A few fixed sizes keep the number of
#: different statements, which the driver caches, small.
_SIZES = (500, 100, 20, 5, 1)
#: Keys of a statement that looks up or deletes by key.
KEYS_A_STATEMENT = 1_000


def microseconds(time: datetime) -> int:
    """Return a time as :class:`service_runtime.database_time.UtcTime` stores it."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def insert(
    connection: sa.Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    *,
    replace: bool = False,
) -> None:
    """Insert ``rows``, each with a value for each of ``columns``.

    Args:
        connection: in a write transaction.
        table: where to.
        columns: their names.
        rows: times as microseconds, everything else as the driver takes it.
        replace: a row with the same primary key takes the new values.
    """
    key = tuple(column.name for column in table.primary_key) if replace else ()
    for part in _parts(rows):
        values = tuple(value for row in part for value in row)
        connection.exec_driver_sql(_insert_sql(table.name, columns, key, len(part)), values)


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


@cache
def _insert_sql(table: str, columns: tuple[str, ...], key: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    # No input is in the text: names are those of our own tables.
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"  # noqa: S608
    if key:
        replaced = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
        statement += f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {replaced}"
    return statement


def chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut ``keys`` into parts that fit one statement."""
    for start in range(0, len(keys), KEYS_A_STATEMENT):
        yield keys[start : start + KEYS_A_STATEMENT]
