"""Run the versions of a database, by alembic; :mod:`.migrations` says when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa


def create_first(connection: sa.Connection, folder: Path) -> None:
    """Create the tables of the first version, without a note of the version."""
    scripts = ScriptDirectory(folder)
    first = scripts.get_revision(str(scripts.get_base()))
    first.module.upgrade(Operations(MigrationContext.configure(connection)))


def upgrade(connection: sa.Connection, folder: Path, *, table: str, before: str | None) -> None:
    """Bring a database to the newest version, and note that in its version table.

    Args:
        connection: a transaction that excludes other migrations.
        folder: the folder that contains ``versions``.
        table: the version table.
        before: the version of the database; None: it is empty.
    """
    scripts = ScriptDirectory(folder)
    newest = str(scripts.get_current_head())
    context = MigrationContext.configure(connection, opts={"version_table": table})
    missing = scripts.iterate_revisions(newest, before or "base")
    for script in reversed(list(missing)):
        # An argument, not an import: all threads of a process share alembic's `op`.
        script.module.upgrade(Operations(context))
    context.stamp(scripts, newest)
