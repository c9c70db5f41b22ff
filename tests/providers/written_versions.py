"""Database versions that a test writes, and databases of the first version."""

from __future__ import annotations

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from service_runtime.database_url import open_engines
from service_runtime.migrations import Migrations

#: The first version: one table.
THINGS = """
    op.create_table(
        "things", sa.Column("thing", sa.Integer, primary_key=True), sa.Column("at", sa.BigInteger)
    )
"""
_VERSION = """
import os
import sqlalchemy as sa

revision = "{revision:04}"
down_revision = {before!r}


def upgrade(op):
{body}
"""


def make_first_version(url: str, migrations: Migrations) -> None:
    """Make an empty database as the first version did, without a note of the version."""
    scripts = ScriptDirectory(migrations.folder)
    first = scripts.get_revision(str(scripts.get_base()))
    engines = open_engines(url, holder="test")
    try:
        with engines.writer.begin() as connection:
            first.module.upgrade(Operations(MigrationContext.configure(connection)))
    finally:
        engines.close()


def written(folder: Path, *bodies: str) -> Migrations:
    """Return migrations with these bodies, from 0001 on; they can use ``op`` and ``sa``."""
    versions = folder / f"up_to_{len(bodies)}" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    for revision, body in enumerate(bodies, start=1):
        before = f"{revision - 1:04}" if revision > 1 else None
        text = _VERSION.format(revision=revision, before=before, body=body)
        (versions / f"v{revision:04}.py").write_text(text)
    return Migrations(versions.parent, table="closeout_test_version")
