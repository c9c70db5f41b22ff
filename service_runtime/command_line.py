"""The command line of a service: serve, check the settings, or migrate the database."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from service_runtime.database_url import is_missing, open_engines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service_runtime.migrations import Migrations

#: Exit code of a check that found something to migrate.
EXIT_TO_MIGRATE = 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument, and never shows it: it may be a secret."""

    def error(self, message: str) -> NoReturn:
        known = re.match(r"(?:argument [^:]+: )?[^:']+", message)
        super().error(f"{known[0].strip() if known else 'wrong arguments'}; --help lists them")


def read(
    module: str, words: Sequence[str], *, extend: Callable[[Any], None] = lambda _: None
) -> argparse.Namespace:
    """Parse the command line into booleans.

    ``check_settings`` and ``check_start`` are for a check of the settings; ``migrate``,
    and with it ``check``, for a migration.

    Args:
        module: the module that ``python -m`` runs.
        words: the arguments after it.
        extend: adds commands of this service to what ``add_subparsers`` returned.
    """
    parser = _Parser(
        prog=f"python -m {module}", description="Without a command: serve until a signal."
    )
    parser.set_defaults(migrate=False, check=False)
    parser.add_argument(
        "--check",
        dest="check_settings",
        action="store_true",
        help="check all settings and exit: start, connect and change nothing;"
        " exit code 2, and a line for each problem, if one is wrong",
    )
    parser.add_argument(
        "--start",
        dest="check_start",
        action="store_true",
        help="with --check: also whether the service could start now: its port is free,"
        " and its database can be written",
    )
    commands = parser.add_subparsers(title="commands")
    migrate = commands.add_parser(
        "migrate",
        help="migrate the database to the version of this Closeout, and exit",
        description="Migrate the database to the version of this Closeout, and exit.",
    )
    migrate.set_defaults(migrate=True)
    migrate.add_argument(
        "--check",
        action="store_true",
        help=f"change nothing; exit code {EXIT_TO_MIGRATE} if there is something to migrate",
    )
    extend(commands)
    return parser.parse_args(words)


def migrate_database(url: str, migrations: Migrations, *, holder: str, check: bool) -> int:
    """Migrate a database, or only check it, and print the result in one line.

    A missing file is not created, because the settings may name the wrong file.

    Returns:
        The exit code: EXIT_TO_MIGRATE if a check found something to migrate.

    Raises:
        StartupError: the database can't be migrated; the text gives the reason.
    """
    if is_missing(url):
        _print(holder, url, "does not exist yet; the service will create it")
        return 0
    engines = open_engines(url, holder=f"migration of the {holder}")
    try:
        step = migrations.look(engines) if check else migrations.migrate(engines)
    finally:
        engines.close()
    if not step.is_needed:
        _print(holder, engines.url, f"version {step.after}, nothing to migrate")
        return 0
    _print(holder, engines.url, f"{'to migrate' if check else 'migrated'}: {step}")
    return EXIT_TO_MIGRATE if check else 0


def _print(holder: str, url: str, result: str) -> None:
    sys.stdout.write(f"{holder}: {url}: {result}\n")
    sys.stdout.flush()
