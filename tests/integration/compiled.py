"""Statements that are compiled once in a process of tests, and not once for each engine.

A service compiles a statement when it first runs it. The tests start a thousand services in
a process, each with engines of its own, and compiled the same statements for each.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.util import LRUCache

#: More than the services and the tests have.
_MOST = 5_000


class CompiledStatements:
    """What engines look statements up in; all engines on one driver find the same."""

    def __init__(self) -> None:
        self._found: LRUCache[Any, Any] = LRUCache(_MOST)

    def get(self, key: tuple[Any, ...]) -> Any:
        """Return a compiled statement; None: it was not compiled yet."""
        return self._found.get(_of_driver(key))

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        """Keep a compiled statement."""
        self._found[_of_driver(key)] = compiled

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()


#: Those of this process. Who changes how a statement is compiled clears them, before and after.
STATEMENTS = CompiledStatements()


def _of_driver(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a key of SQLAlchemy with the driver in place of the dialect of one engine."""
    dialect, *statement = key
    return (type(dialect), dialect.dbapi, *statement)


def compile_once() -> None:
    """Let all engines that this process makes from now on share what they compile."""

    def share(connection: sa.Connection) -> None:
        connection.execution_options(compiled_cache=STATEMENTS)

    event.listen(sa.Engine, "engine_connect", share)
