"""Lock the SQLite file to one process and name the holder to a second one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from service_runtime.errors import StartupError


class DatabaseInUseError(StartupError):
    """Another process has the file."""


class DatabaseFile:
    """Lock ``PATH.lock`` while the process runs.

    The kernel releases the lock at any end of the process. Other tools
    can still read the database.

    Args:
        path: the database file; its folder is created.
        holder: the name that is written into the lock for other processes.

    Raises:
        DatabaseInUseError: another process holds the lock.
        StartupError: the folder can't be written.
    """

    def __init__(self, path: str, *, holder: str) -> None:
        lock = Path(f"{path}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = lock.open("a+")
        except OSError as error:
            raise StartupError(f"can't use the database {path}: {error}") from error
        try:
            self._lock_file(path, holder)
        except OSError as error:
            self._lock.close()
            raise StartupError(f"can't use the database {path}: {error}") from error
        except StartupError:
            self._lock.close()
            raise

    def _lock_file(self, path: str, holder: str) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            other = self._lock.read().strip() or "another process"
            raise DatabaseInUseError(
                f"the database {path} is in use by {other}; SQLite serves one process:"
                " stop it, or give this one another database"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"the {holder}, process {os.getpid()}\n")
        self._lock.flush()
        # Nobody else may read addresses and bodies.
        Path(path).touch(mode=0o600)

    def release(self) -> None:
        """Release the file for another process."""
        self._lock.close()
