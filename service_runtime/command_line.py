"""The command line of a service: it serves, or migrates its database and ends."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from service_runtime.database import is_missing, open_engines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service_runtime.migrations import Migrations

#: Exit code of a check that found something to migrate.
EXIT_TO_MIGRATE = 1


def read(module: str, words: Sequence[str]) -> argparse.Namespace:
    """Return what is asked for: ``migrate`` and ``check`` are true or false.

    Args:
        module: what ``python -m`` runs.
        words: what follows it.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description="Without a command: serve, until a signal."
    )
    parser.set_defaults(migrate=False, check=False)
    migrate = parser.add_subparsers(title="commands").add_parser(
        "migrate",
        help="bring the database to the version of this Closeout, and end",
        description="Bring the database to the version of this Closeout, and end.",
    )
    migrate.set_defaults(migrate=True)
    migrate.add_argument(
        "--check",
        action="store_true",
        help=f"change nothing; exit code {EXIT_TO_MIGRATE} if there is something to migrate",
    )
    return parser.parse_args(words)


def migrate_database(url: str, migrations: Migrations, *, holder: str, check: bool) -> int:
    """Migrate a database and say so in one line, or only say what there is to do.

    A file that is not there yet is not made: it would be made in vain where the
    settings name the wrong one.

    Returns:
        The exit code: EXIT_TO_MIGRATE if a check found something.

    Raises:
        StartupError: it can't be migrated; the text says why.
    """
    if is_missing(url):
        _say(holder, url, "not there yet; the service makes it")
        return 0
    engines = open_engines(url, holder=f"migration of the {holder}")
    try:
        step = migrations.look(engines) if check else migrations.migrate(engines)
    finally:
        engines.close()
    if not step.is_needed:
        _say(holder, engines.url, f"version {step.after}, nothing to migrate")
        return 0
    _say(holder, engines.url, f"{'to migrate' if check else 'migrated'}: {step}")
    return EXIT_TO_MIGRATE if check else 0


def _say(holder: str, url: str, what: str) -> None:
    sys.stdout.write(f"{holder}: {url}: {what}\n")
    sys.stdout.flush()
