"""What a store tells of PostgreSQL without its driver, which is slow to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_runtime.errors import StartupError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

#: SQLSTATE of a lock that others held for too long, and of a disk without room.
_LOCK_NOT_AVAILABLE = "55P03"
_DISK_FULL = "53100"


def check_postgresql_url(url: URL) -> None:
    """Check the form of a URL; connect nothing.

    Raises:
        StartupError: it names another driver, or no database, or a part of its password
            stands where its host or its database is; the text has nothing of it.
    """
    database = url.database or ""
    torn = "@" in f"{url.host}{database}"
    if url.drivername not in {"postgresql", "postgresql+psycopg"} or not database or torn:
        raise StartupError(
            "PostgreSQL is supported as postgresql://USER@HOST/DATABASE; in a password, write @ as"
            " %40"
        )


def is_lock_timeout(error: Exception) -> bool:
    """Return whether a statement was given up because others hold a lock for too long."""
    return _state(error) == _LOCK_NOT_AVAILABLE


def is_disk_full(error: Exception) -> bool:
    """Return whether the server has no room left on its disk."""
    return _state(error) == _DISK_FULL


def _state(error: Exception) -> str | None:
    """Return the SQLSTATE of a failed statement; None for other failures and databases."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)
