"""Many rows in few statements: each is written once, whatever their number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from sender_service.store import bulk
from service_runtime.database_time import UtcTime

_TABLE = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String),
    sa.Column("time", UtcTime()),
)
_COLUMNS = ("number", "name", "time")


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 6, 19, 21, 99, 100, 126, 499, 500, 501, 1_234])
def test_each_row_is_written_once(number: int) -> None:
    """With a few kinds of statements, however many rows there are."""
    engine = sa.create_engine("sqlite://")
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    time = datetime(2026, 11, 26, 12, 30, 15, 250_001, tzinfo=UTC)
    rows = [(n, f"n{n}", bulk.microseconds(time + n * timedelta.resolution)) for n in range(number)]
    with engine.begin() as connection:
        _TABLE.create(connection)
        statements.clear()
        bulk.insert(connection, _TABLE, _COLUMNS, rows)
        assert len(statements) <= 16
        assert len(set(statements)) <= 5
        found = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.number)).all()
    expected = [(n, f"n{n}", time + n * timedelta.resolution) for n in range(number)]
    assert [tuple(row) for row in found] == expected
    engine.dispose()


def test_a_row_with_the_same_key_takes_the_new_values() -> None:
    """Where that is asked for; the other rows stay."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        _TABLE.create(connection)
        bulk.insert(connection, _TABLE, _COLUMNS, [(1, "a", 0), (2, "b", 0)])
        bulk.insert(connection, _TABLE, _COLUMNS, [(2, "c", 7)], replace=True)
        found = connection.execute(sa.select(_TABLE.c.number, _TABLE.c.name)).all()
    assert [tuple(row) for row in found] == [(1, "a"), (2, "c")]
    engine.dispose()


@pytest.mark.parametrize("number", [0, 1, 999, 1_000, 1_001, 2_500])
def test_keys_are_cut_into_parts(number: int) -> None:
    """Each key is in one of them, and SQLite takes any."""
    parts = list(bulk.chunks(range(number)))
    assert [key for part in parts for key in part] == list(range(number))
    assert all(0 < len(part) < 32_000 for part in parts)
