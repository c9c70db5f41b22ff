"""The databases that a service runs on, by hand: what a person with a tool sees and does.

The same SQL, with question marks, goes to both kinds; both return the same rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psycopg
import sqlalchemy as sa
from pysqlite3 import dbapi2

from service_runtime.postgresql import postgresql_engine
from service_runtime.sqlite import sqlite_engine

#: How long a statement by hand waits for a lock, seconds: far longer than one is held.
PATIENCE_SECONDS = 60.0


class Hand(Protocol):
    """A connection by hand."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        """Run one statement and return its cursor; a row has its columns by place and by name."""

    def close(self) -> None:
        """Close the connection."""


class Database(ABC):
    """One database, empty at first."""

    #: What a statement that breaks a constraint fails with.
    IntegrityError: ClassVar[type[Exception]]
    #: Makes commits through :meth:`engine` fast where no crash is to be survived.
    hurry: ClassVar[str]

    def __init__(self, url: str) -> None:
        #: The URL for the settings of a service.
        self.url = url

    @abstractmethod
    def connect(self) -> Hand:
        """Open a connection that commits each statement by itself."""

    @abstractmethod
    def by_hand(self) -> AbstractContextManager[Hand]:
        """Open a connection for a block; what was done is committed at the end."""

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Let nobody else write campaigns for the length of a block."""

    @abstractmethod
    def refuse_results(self, code: str) -> None:
        """Make the database refuse results with this code."""

    @abstractmethod
    def take_results(self) -> None:
        """End what :meth:`refuse_results` began."""

    @abstractmethod
    def engine(self) -> sa.Engine:
        """Return an engine of its own, with one connection, that writes as a service does."""


class SqliteDatabase(Database):
    """A file."""

    IntegrityError = dbapi2.IntegrityError
    hurry = "PRAGMA synchronous = OFF"

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite:///{path}")
        self.path = path

    def connect(self) -> Any:
        """Open a connection that commits each statement by itself."""
        return self._connect(isolation_level=None)

    def _connect(self, **options: Any) -> Any:
        connection = dbapi2.connect(self.path, timeout=PATIENCE_SECONDS, **options)
        connection.row_factory = dbapi2.Row
        return connection

    @contextmanager
    def by_hand(self) -> Iterator[Any]:
        """Open a connection for a block; what was done is committed at the end."""
        with closing(self._connect()) as connection, connection:
            yield connection

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody else write for the length of a block."""
        with self.by_hand() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    def refuse_results(self, code: str) -> None:
        """Make the database refuse results with this code."""
        with self.by_hand() as connection:
            connection.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON results WHEN NEW.code = '{code}'"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )

    def take_results(self) -> None:
        """End what :meth:`refuse_results` began."""
        with self.by_hand() as connection:
            connection.execute("DROP TRIGGER refuse")

    def engine(self) -> sa.Engine:
        """Return an engine of its own, with one connection, that writes as a service does."""
        return sqlite_engine(self.url, begin="BEGIN IMMEDIATE", connections=1)


class PostgresqlDatabase(Database):
    """A database of a server."""

    IntegrityError = psycopg.IntegrityError
    hurry = "SET synchronous_commit = off"

    def connect(self) -> Hand:
        """Open a connection that commits each statement by itself."""
        return _PostgresqlHand(self._connect(autocommit=True))

    def _connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self.url,
            row_factory=_rows,
            options=f"-c lock_timeout={PATIENCE_SECONDS}s",
            **options,
        )

    @contextmanager
    def by_hand(self) -> Iterator[Hand]:
        """Open a connection for a block; what was done is committed at the end."""
        with self._connect() as connection:
            yield _PostgresqlHand(connection)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody else write campaigns for the length of a block."""
        with self.by_hand() as connection:
            connection.execute("LOCK TABLE campaigns IN EXCLUSIVE MODE")
            yield

    def refuse_results(self, code: str) -> None:
        """Make the database refuse results with this code."""
        with self.by_hand() as connection:
            connection.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RAISE check_violation USING MESSAGE = ''refused''; END'"
            )
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON results FOR EACH ROW"
                f" WHEN (NEW.code = '{code}') EXECUTE FUNCTION refuse()"
            )

    def take_results(self) -> None:
        """End what :meth:`refuse_results` began."""
        with self.by_hand() as connection:
            connection.execute("DROP FUNCTION refuse CASCADE")

    def engine(self) -> sa.Engine:
        """Return an engine of its own, with one connection, that writes as a service does."""
        return postgresql_engine(
            sa.make_url(self.url), holder="test", isolation="READ COMMITTED", connections=1
        )


class _PostgresqlHand:
    """Takes SQL as SQLite does."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.close = connection.close

    def execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run one statement with question marks."""
        query: Any = statement.replace("%", "%%").replace("?", "%s")
        return self._connection.execute(query, values)


class _Row(tuple[Any, ...]):  # noqa: SLOT001 - a tuple can't have slots of its own
    """A row like SQLite's: columns by place and by name."""

    names: Sequence[str]

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return self.names

    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(self.names.index(place) if isinstance(place, str) else place)


def _rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], _Row]:
    names = [column.name for column in cursor.description or ()]

    def row(values: Sequence[Any]) -> _Row:
        made = _Row(values)
        made.names = names
        return made

    return row
