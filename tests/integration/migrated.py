"""New databases as a service makes them, without the work: it takes longer than most tests.

A file is copied. A database of the shared PostgreSQL is used again without its rows, if
the test left its tables as they were.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from psycopg.errors import UndefinedTable

from providers.postgresql_server import PostgresqlServer
from service_runtime.database import Store
from service_runtime.migrations import Migrations

_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

#: A database that grew beyond this is made again: deleted rows keep their place, bytes.
_MOST_BYTES = 4_000_000
#: Everything that a test can change of the tables of a database, and their version.
_LOOK = """
    SELECT md5(string_agg(line, ' ' ORDER BY line)) AS tables FROM (
        SELECT concat_ws(' ', nspname, nspowner, nspacl) AS line FROM pg_namespace
            WHERE oid = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', oid, relname, relkind, relowner, relacl, reloptions)
            FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', attrelid, attname, atttypid, attnotnull, attisdropped)
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index
            JOIN pg_class ON pg_class.oid = indrelid
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', oid, conname, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', tgenabled, pg_get_triggerdef(oid))
            FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT pg_get_functiondef(oid)
            FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'version', version_num) FROM {version}
    ) AS lines
"""
_CLEAR = """
    DO $$
    DECLARE name text;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT tablename FROM pg_tables
            WHERE schemaname = 'public' AND tablename <> {version}
        LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
        PERFORM setval(format('%I', sequencename)::regclass, start_value, false)
            FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
    END $$
"""
_CLOSE_OTHERS = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SIZE = """
    SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


@functools.cache
def image(migrations: Migrations) -> bytes:
    """Return the bytes of a new file; made once in a process, and in those it forks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        Store(f"sqlite:///{path}", migrations, holder="test").close()
        return path.read_bytes()


def make_file(path: Path, migrations: Migrations) -> None:
    """Make the file of a database as its service does; leave one that exists alone."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(image(migrations))


class MigratedDatabases:
    """The databases of one service on a server; each has all tables and no row.

    Args:
        server: the server.
        migrations: of the service.
    """

    def __init__(self, server: PostgresqlServer, migrations: Migrations) -> None:
        self._server = server
        self._migrations = migrations
        self._look_at = sql.SQL(_LOOK).format(version=sql.Identifier(migrations.table))
        self._clear = sql.SQL(_CLEAR).format(version=migrations.table)
        #: By URL, what its tables were when they were new.
        self._tables: dict[str, str] = {}
        self._free: list[str] = []

    def take(self) -> str:
        """Return the URL of one, for a test alone."""
        url = self._free.pop() if self._free else self._server.create_database()
        if url not in self._tables:
            Store(url, self._migrations, holder="test").close()
            with self._connect(url) as connection:
                self._tables[url] = self._look(connection)
        return url

    def give_back(self, url: str) -> None:
        """Take one back, whatever a test did with it."""
        with self._connect(url) as connection:
            connection.execute(_CLOSE_OTHERS)
            cleared = self._cleared(url, connection)
        if not cleared:
            self._server.empty_database(url)
            del self._tables[url]
        self._free.append(url)

    def _cleared(self, url: str, connection: _Connection) -> bool:
        """Remove all rows; return false if that does not make it new."""
        if self._look(connection) != self._tables[url]:
            return False
        (size,) = connection.execute(_SIZE).fetchone() or (0,)
        if size > _MOST_BYTES:
            return False
        connection.execute(self._clear)
        return True

    def _look(self, connection: _Connection) -> str:
        """Return what its tables are; empty: it has no version."""
        try:
            (tables,) = connection.execute(self._look_at).fetchone() or ("",)
        except UndefinedTable:
            return ""
        return str(tables)

    def _connect(self, url: str) -> _Connection:
        """Open a connection of the administrator."""
        return self._server.connect(url.rpartition("/")[2], user="postgres")
