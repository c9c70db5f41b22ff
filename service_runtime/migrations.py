"""Bring a database to the version of the code, all of it or nothing.

A version is a file ``versions/v0001_….py`` with ``revision``, ``down_revision`` and
``upgrade(op)``, where ``op`` are the operations of alembic. What a version does never
changes once it was released, so it names tables and columns itself and imports nothing
of the service. There is no way back: restore a backup for that.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa
import structlog
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from service_runtime.engines import url_of
from service_runtime.errors import StartupError, StoreUnavailableError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service_runtime.engines import Engines

log = structlog.get_logger()

#: What a database without tables is at.
EMPTY: Final = "empty"
#: What a database is at that has the tables of the first version, from the time
#: before versions were written down.
UNVERSIONED: Final = "unversioned"
_NAMED_TABLES = 5


class Step(NamedTuple):
    """From where to where a database goes; nowhere if both are the same.

    Attributes:
        before: a version, EMPTY or UNVERSIONED.
        after: the version of the code.
    """

    before: str
    after: str

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Migrations:
    """The versions of one service's database.

    Attributes:
        folder: where ``versions`` is.
        table: where a database keeps its version. Its name is the service's own, so
            that one is never taken for the other's.
    """

    folder: Path
    table: str

    def look(self, engines: Engines) -> Step:
        """Return what there is to do, and change nothing.

        Raises:
            StartupError: the database is newer than the code, or not this service's,
                or does not answer.
        """
        with _failing_to("open", engines), engines.reader.begin() as connection:
            return self._step(connection)

    def migrate(self, engines: Engines) -> Step:
        """Do what there is to do, unless another process does it first; return what it was.

        Raises:
            StartupError: as for ``look``, or a version can't be reached; then the
                database is as it was.
        """
        step = self.look(engines)
        if not step.is_needed:
            return step
        with _failing_to("migrate", engines), engines.migrating() as connection:
            step = self._step(connection)  # others may have done it meanwhile
            if step.is_needed:
                self._take(connection, step)
        if step.is_needed:
            log.info(
                "database_migrated",
                database=engines.url,
                version_before=step.before,
                version=step.after,
            )
        return step

    def _step(self, connection: sa.Connection) -> Step:
        scripts = ScriptDirectory(self.folder)
        newest = str(scripts.get_current_head())
        version = self._context(connection).get_current_revision()
        if version is None:
            return Step(self._unversioned(connection, scripts), newest)
        if version not in {script.revision for script in scripts.walk_revisions()}:
            raise StartupError(
                f"the database {url_of(connection.engine)} is at version {version}, and this"
                f" Closeout knows versions up to {newest} only: upgrade Closeout"
            )
        return Step(version, newest)

    def _unversioned(self, connection: sa.Connection, scripts: ScriptDirectory) -> str:
        found = _tables(connection)
        found.pop(self.table, None)
        if not found:
            return EMPTY
        if found == self._first_tables(scripts):
            return UNVERSIONED
        names = sorted(found)
        more = ", …" if len(names) > _NAMED_TABLES else ""
        raise StartupError(
            f"the database {url_of(connection.engine)} has tables of something else"
            f" ({', '.join(names[:_NAMED_TABLES])}{more}): give this service one of its own"
        )

    def _first_tables(self, scripts: ScriptDirectory) -> dict[str, set[str]]:
        """Make the first version in memory, to know its tables by."""
        engine = sa.create_engine("sqlite://")
        try:
            with engine.begin() as connection:
                first = scripts.get_revision(str(scripts.get_base()))
                first.module.upgrade(Operations(self._context(connection)))
                return _tables(connection)
        finally:
            engine.dispose()

    def _take(self, connection: sa.Connection, step: Step) -> None:
        scripts = ScriptDirectory(self.folder)
        context = self._context(connection)
        reached = {EMPTY: "base", UNVERSIONED: str(scripts.get_base())}
        ahead = scripts.iterate_revisions(step.after, reached.get(step.before, step.before))
        for script in reversed(list(ahead)):
            # Handed over, not imported by the version: alembic's own `op` is one for
            # all threads of a process.
            script.module.upgrade(Operations(context))
        context.stamp(scripts, step.after)

    def _context(self, connection: sa.Connection) -> MigrationContext:
        return MigrationContext.configure(connection, opts={"version_table": self.table})


def _tables(connection: sa.Connection) -> dict[str, set[str]]:
    """Return the columns of each table."""
    inspector = sa.inspect(connection)
    return {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in inspector.get_table_names()
    }


@contextmanager
def _failing_to(act: str, engines: Engines) -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, StoreUnavailableError) as error:
        raise StartupError(
            f"can't {act} the database {engines.url}: {in_one_line(error)}"
        ) from error
