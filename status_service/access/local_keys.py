"""``python -m status_service keys create``: a key made on the machine that has the database.

The first key is made so, and each one with scope ``service``. It works beside a service that
runs on the same database, which takes the key within seconds.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service_runtime.caller import ALL_SCOPES, DEFAULT_ORGANISATION, Scope
from service_runtime.database_file import DatabaseInUseError
from service_runtime.database_time import read_clock
from service_runtime.database_url import check_url, open_engines
from service_runtime.errors import ServiceError, StartupError, StoreUnavailableError, in_one_line
from service_runtime.sqlite import beside_sqlite
from status_service.access import key_service, keys
from status_service.access.key_store import NewKeyData
from status_service.access.names import NAME_RULE, is_key_name, is_organisation
from status_service.migrations import MIGRATIONS

if TYPE_CHECKING:
    import argparse

    from service_runtime.engines import Engines
    from status_service.access.key_store import Key
    from status_service.access.keys import NewKey

#: A key whose scopes nobody named can do everything within its organisation.
_ADMIN_SCOPES = sorted(ALL_SCOPES)
_LONGEST_LIFE = timedelta(days=36_500)


def add_command(commands: Any) -> None:
    """Add ``keys`` to the commands of a command line."""
    keys_command = commands.add_parser(
        "keys",
        help="make a key in the database, and exit",
        description="Make a key in the database, and exit.",
    )
    create = keys_command.add_subparsers(title="commands", required=True).add_parser(
        "create",
        help="make a key and print it as JSON, this once",
        description="Make a key and print it as JSON, this once.",
    )
    create.set_defaults(make_key=True)
    create.add_argument("--organisation", default=DEFAULT_ORGANISATION, help="whose key it is")
    create.add_argument("--name", default="admin", help="what people will call it")
    create.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        choices=[scope.value for scope in Scope],
        help=f"what it allows, repeatable; default: {', '.join(_ADMIN_SCOPES)}",
    )
    create.add_argument(
        "--expires-seconds", type=float, help="how long it holds; default: for good"
    )


def create(url: str, asked: argparse.Namespace) -> int:
    """Make a key and print it as one JSON object; return the exit code.

    Args:
        url: the database of the status service.
        asked: the command line.

    Raises:
        StartupError: the database can't be used, or the command line is wrong.
    """
    _check(asked)
    secret = keys.generate()
    engines = _open(url)
    try:
        _bring_up_to_date(engines)
        with engines.writer.begin() as connection:
            made = _insert(connection, secret, asked)
    except (sa.exc.DBAPIError, StoreUnavailableError) as error:
        raise StartupError(f"no key was made: {in_one_line(error)}") from error
    except ServiceError as error:
        raise StartupError(f"no key was made: {error}") from error
    finally:
        engines.close()
    sys.stdout.write(f"{json.dumps(_shown(made, secret, engines.url))}\n")
    sys.stdout.flush()
    return 0


def _open(url: str) -> Engines:
    """Open the database, also while a service has the SQLite file.

    Raises:
        StartupError: it can't be opened.
    """
    try:
        return open_engines(url, holder="keys of the status service")
    except DatabaseInUseError:
        return beside_sqlite(check_url(url))


def _check(asked: argparse.Namespace) -> None:
    if not is_organisation(asked.organisation):
        raise StartupError(f"--organisation: {asked.organisation!r} is not {NAME_RULE}")
    if not is_key_name(asked.name):
        raise StartupError(f"--name: {asked.name!r} is not {NAME_RULE}")
    life = asked.expires_seconds
    if life is not None and not 0 < life <= _LONGEST_LIFE.total_seconds():
        raise StartupError("--expires-seconds: name a span of at most 36,500 days, above 0")


def _bring_up_to_date(engines: Engines) -> None:
    """Migrate a database that nobody uses; one that a service has must fit.

    Raises:
        StartupError: the service that runs has another version.
    """
    if engines.exclusive:
        MIGRATIONS.migrate(engines)
        return
    step = MIGRATIONS.look(engines)
    if step.is_needed:
        raise StartupError(
            f"the database {engines.url} is in use by a service of another version ({step}): stop"
            " it, or make the key with the closeout of its version"
        )


def _insert(connection: sa.Connection, secret: NewKey, asked: argparse.Namespace) -> Key:
    life = asked.expires_seconds
    expiry = None if life is None else read_clock(connection) + timedelta(seconds=life)
    data = NewKeyData(
        asked.organisation,
        asked.name,
        frozenset(map(Scope, asked.scopes or _ADMIN_SCOPES)),
        f"local:{_user()}",
        expiry,
    )
    return key_service.create(connection, secret, data)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # this user id has no name
        return str(os.getuid())


def _shown(key: Key, secret: NewKey, database: str) -> dict[str, Any]:
    """Return what is printed: the names of the contract, and where the key is."""
    return {
        "key": {
            "key_id": key.key_id,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "create_time": key.create_time.isoformat(),
            "creator": key.creator,
            **({"expire_time": key.expire_time.isoformat()} if key.expire_time else {}),
        },
        "secret_key": secret.text,
        "organization": key.organisation,
        "database": database,
    }
