"""Measure the floor: how fast the bare driver inserts the same rows into a database."""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.schema import CreateTable

from status_service.schema import results

if TYPE_CHECKING:
    from pathlib import Path

#: Rows of one commit: the maximum of the status service.
_ROWS_A_COMMIT = 10_000
#: Rows of one INSERT into SQLite, whose statements take 32,766 values.
_ROWS_A_STATEMENT = 1_000
_NOW = 1_700_000_000_000_000
_COLUMNS = (
    "campaign",
    "sequence",
    "outcome",
    "attempt",
    "code",
    "detail",
    "provider_message_id",
    "finish_time",
    "record_time",
)


def sqlite_rate(file: Path, rows: int) -> float:
    """Return the result rows a second that one thread inserts into a new file, with FULL."""
    row = f"({', '.join('?' * len(_COLUMNS))})"
    values = ", ".join([row] * _ROWS_A_STATEMENT)
    insert = f"INSERT INTO results ({', '.join(_COLUMNS)}) VALUES {values}"  # noqa: S608 - no input
    commits = [
        [tuple(chain.from_iterable(part)) for part in _parts(commit, _ROWS_A_STATEMENT)]
        for commit in _parts(_rows(rows), _ROWS_A_COMMIT)
    ]
    connection = dbapi2.connect(str(file), isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(_create_table("sqlite://"))
        begin = time.perf_counter()
        for commit in commits:
            connection.execute("BEGIN IMMEDIATE")
            for parameters in commit:
                connection.execute(insert, parameters)
            connection.execute("COMMIT")
        return rows / (time.perf_counter() - begin)
    finally:
        connection.close()
        file.unlink()


def postgresql_rate(url: str, rows: int) -> float:
    """Return the result rows a second that one connection copies into an empty database.

    The rows are text already, because psycopg would take longer to make it than the server
    takes to store them.
    """
    copy = f"COPY results ({', '.join(_COLUMNS)}) FROM STDIN".encode()
    commits = [
        "\n".join("\t".join(map(str, row)) for row in commit)
        for commit in _parts(_rows(rows), _ROWS_A_COMMIT)
    ]
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        connection.execute(_create_table("postgresql+psycopg://").encode())
        begin = time.perf_counter()
        for lines in commits:
            with cursor.copy(copy) as copying:  # commits by itself
                copying.write(lines)
        return rows / (time.perf_counter() - begin)


def _create_table(url: str) -> str:
    dialect = sa.make_url(url).get_dialect()()
    return str(CreateTable(results).compile(dialect=dialect))


def _rows(rows: int) -> list[tuple[Any, ...]]:
    return [
        (1, sequence, 4, 1, "250", "", f"queued-as-{sequence:012}", _NOW, _NOW)
        for sequence in range(1, rows + 1)
    ]


def _parts(rows: list[tuple[Any, ...]], size: int) -> list[list[tuple[Any, ...]]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def versions() -> str:
    """Return the versions of the measured drivers."""
    return (
        f"SQLite {dbapi2.sqlite_version}, psycopg {psycopg.__version__},"
        f" SQLAlchemy {sa.__version__}"
    )
