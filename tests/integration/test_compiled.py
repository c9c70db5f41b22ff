"""Engines of tests share compiled statements, with those on the same driver alone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from pysqlite3 import dbapi2

from service_runtime.database_time import database_now


def _compiled(engine: sa.Engine, statement: sa.Select[Any]) -> object:
    """Return what an engine runs for a statement."""
    found: list[object] = []
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda *given: found.append(given[4].compiled),
    )
    with engine.connect() as connection:
        connection.execute(statement).all()
    engine.dispose()
    return found[0]


def test_a_statement_is_compiled_for_the_first_engine_of_a_driver() -> None:
    """Another engine finds it; one on another driver compiles its own; values are not kept."""
    statement = sa.select(database_now(), sa.literal(1).label("unlike_all_others"))
    engines = [sa.create_engine("sqlite://", module=dbapi2) for _ in range(2)]
    first, second = (_compiled(engine, statement) for engine in engines)
    assert first is second
    assert _compiled(sa.create_engine("sqlite://"), statement) is not first
    engine = sa.create_engine("sqlite://", module=dbapi2)
    with engine.connect() as connection:
        assert [
            connection.execute(sa.select(sa.literal(value).label("of_values"))).scalar_one()
            for value in (1, 2)
        ] == [1, 2]
    engine.dispose()
