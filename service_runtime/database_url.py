"""Which database a URL names; a URL that is refused is never shown, for its password.

What is particular to a kind of database is in :mod:`.sqlite` and :mod:`.postgresql`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from service_runtime.engines import LONG_READERS, READERS
from service_runtime.errors import StartupError
from service_runtime.postgresql_signs import check_postgresql_url
from service_runtime.sqlite import check_sqlite_url, open_sqlite

if TYPE_CHECKING:
    from service_runtime.engines import Engines


def open_engines(url: str, *, holder: str) -> Engines:
    """Return the engines for a URL; connects when they are used.

    Raises:
        StartupError: it is no URL of a database that is supported, or another
            process has the file.
    """
    parsed = check_url(url)
    readers = READERS + LONG_READERS
    if parsed.get_backend_name() == "sqlite":
        return open_sqlite(parsed, holder=holder, readers=readers)
    from service_runtime import postgresql  # noqa: PLC0415 - SQLite needs no driver of it

    return postgresql.open_postgresql(parsed, holder=holder, readers=readers)


def check_url(url: str) -> sa.URL:
    """Return a URL whose database is of a supported kind; open and make nothing.

    Raises:
        StartupError: it is no URL of such a database; the text has no password.
    """
    parsed = _parsed(url)
    match parsed.get_backend_name():
        case "sqlite":
            check_sqlite_url(parsed)
        case "postgresql":
            check_postgresql_url(parsed)
        case _:
            raise StartupError(
                f"{parsed.get_backend_name()}: only sqlite:///PATH and"
                " postgresql://USER@HOST/DATABASE are supported"
            )
    return parsed


def is_missing(url: str) -> bool:
    """Return whether a URL names a file that is not there, so that opening it makes one.

    Raises:
        StartupError: it is no URL of a database.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return False
    return not Path(parsed.database).exists()


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        # Not shown: a password may be anywhere in what is no URL.
        raise StartupError(
            "this is not a database URL, as in sqlite:///status.db or"
            " postgresql://USER@HOST/DATABASE"
        ) from error
