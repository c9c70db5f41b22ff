"""The floor: what the bare driver does with the same rows on the same disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from status_service.schema import results

if TYPE_CHECKING:
    from pathlib import Path

#: Rows of one commit: as many as the status service commits at most.
_ROWS_A_COMMIT = 5_000
_NOW = 1_700_000_000_000_000


def insert_rate(folder: Path, rows: int) -> float:
    """Return how many result rows a second ``executemany`` inserts, one thread, FULL."""
    table = str(CreateTable(results).compile(dialect=sqlite.dialect()))
    connection = dbapi2.connect(str(folder / "floor.db"), isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(table)
        names = ", ".join(column.name for column in results.columns)
        marks = ", ".join("?" * len(results.columns))
        insert = f"INSERT INTO results ({names}) VALUES ({marks})"  # noqa: S608 - our own names
        data = [
            (1, sequence, 4, 1, "250", "", f"queued-as-{sequence:012}", _NOW, _NOW)
            for sequence in range(1, rows + 1)
        ]
        begin = time.perf_counter()
        for start in range(0, rows, _ROWS_A_COMMIT):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, data[start : start + _ROWS_A_COMMIT])
            connection.execute("COMMIT")
        return rows / (time.perf_counter() - begin)
    finally:
        connection.close()


def driver_version() -> str:
    """Return the version of SQLite that is measured, and of SQLAlchemy."""
    return f"SQLite {dbapi2.sqlite_version}, SQLAlchemy {sa.__version__}"
