"""Migrate a database to the version of the code, completely or not at all.

A version is a file ``versions/v0001_….py`` with ``revision``, ``down_revision`` and
``upgrade(op)``, where ``op`` are the operations of alembic. A released version never
changes, so it spells out its tables and columns and imports nothing of the service.
There is no downgrade: restore a backup instead.

Most starts find the newest version. What runs a version is in :mod:`.migration_scripts`,
which is imported only then: alembic is slow to import.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa
import structlog

from service_runtime.engines import url_of
from service_runtime.errors import StartupError, StoreUnavailableError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service_runtime.engines import Engines

log = structlog.get_logger()

#: The version of a database without tables.
EMPTY: Final = "empty"
#: The version of a database that has the tables of the first version and no version
#: table, because it is older than version tables.
UNVERSIONED: Final = "unversioned"
_NAMED_TABLES = 5


class Step(NamedTuple):
    """The versions before and after a migration; equal if there is nothing to do.

    Attributes:
        before: a version, EMPTY or UNVERSIONED.
        after: the version of the code.
    """

    before: str
    after: str

    @property
    def is_needed(self) -> bool:
        """Whether there is something to migrate."""
        return self.before != self.after

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Migrations:
    """The versions of one service's database.

    Attributes:
        folder: the folder that contains ``versions``.
        table: the table with the version of the database. Each service has another
            name for it, so that no service mistakes the other's database for its own.
    """

    folder: Path
    table: str

    def look(self, engines: Engines) -> Step:
        """Return the migration that is needed, and change nothing.

        Raises:
            StartupError: the database is newer than the code, belongs to something
                else, or does not answer.
        """
        with _explaining_failure("open", engines), engines.reader.begin() as connection:
            return self._step(connection)

    def check(self, connection: sa.Connection) -> None:
        """Check that a database that was migrated still has the newest version.

        Raises:
            StartupError: it has another one; the text says what to do.
        """
        step = self._step(connection)
        if step.is_needed:
            raise StartupError(
                f"the database {url_of(connection.engine)} is at version {step.before} and not"
                f" {step.after}: restart this service, which migrates it"
            )

    def migrate(self, engines: Engines) -> Step:
        """Migrate, unless another process does so first; return the migration.

        Raises:
            StartupError: as for ``look``, or a version fails; then the database is
                unchanged.
        """
        step = self.look(engines)
        if not step.is_needed:
            return step
        with _explaining_failure("migrate", engines), engines.migrating() as connection:
            step = self._step(connection)  # another process may have migrated meanwhile
            if step.is_needed:
                self._apply(connection, step)
        if step.is_needed:
            log.info(
                "database_migrated",
                database=engines.url,
                version_before=step.before,
                version=step.after,
            )
        return step

    def _step(self, connection: sa.Connection) -> Step:
        versions = self.versions
        newest = versions[-1]
        version = self._version(connection)
        if version is None:
            return Step(self._unversioned(connection), newest)
        if version not in versions:
            raise StartupError(
                f"the database {url_of(connection.engine)} is at version {version}, and this"
                f" Closeout knows versions up to {newest} only: upgrade Closeout"
            )
        return Step(version, newest)

    @property
    def versions(self) -> list[str]:
        """All versions, from the first to the newest: what the names of the files begin with."""
        names = (path.stem for path in (self.folder / "versions").glob("v*.py"))
        return sorted(name.removeprefix("v").partition("_")[0] for name in names)

    def _version(self, connection: sa.Connection) -> str | None:
        """Return the version that the database has of itself."""
        if not sa.inspect(connection).has_table(self.table):
            return None
        table = sa.table(self.table, sa.column("version_num", sa.Text))
        found: str | None = connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()
        return found

    def _unversioned(self, connection: sa.Connection) -> str:
        tables = _tables(connection)
        tables.pop(self.table, None)
        if not tables:
            return EMPTY
        if tables == self._first_tables():
            return UNVERSIONED
        names = sorted(tables)
        more = ", …" if len(names) > _NAMED_TABLES else ""
        raise StartupError(
            f"the database {url_of(connection.engine)} has tables of something else"
            f" ({', '.join(names[:_NAMED_TABLES])}{more}): give this service one of its own"
        )

    def _first_tables(self) -> dict[str, set[str]]:
        """Create the first version in memory and return its tables."""
        from service_runtime import migration_scripts  # noqa: PLC0415 - slow to import

        engine = sa.create_engine("sqlite://")
        try:
            with engine.begin() as connection:
                migration_scripts.create_first(connection, self.folder)
                return _tables(connection)
        finally:
            engine.dispose()

    def _apply(self, connection: sa.Connection, step: Step) -> None:
        from service_runtime import migration_scripts  # noqa: PLC0415 - slow to import

        before = {EMPTY: None, UNVERSIONED: self.versions[0]}.get(step.before, step.before)
        migration_scripts.upgrade(connection, self.folder, table=self.table, before=before)


def _tables(connection: sa.Connection) -> dict[str, set[str]]:
    """Return the columns of each table."""
    inspector = sa.inspect(connection)
    return {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in inspector.get_table_names()
    }


@contextmanager
def _explaining_failure(act: str, engines: Engines) -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, StoreUnavailableError) as error:
        raise StartupError(
            f"can't {act} the database {engines.url}: {in_one_line(error)}"
        ) from error
