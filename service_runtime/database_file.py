"""Locks the SQLite file to one process, and names the holder to a second one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from service_runtime.errors import StartupError


class DatabaseFile:
    """Holds ``PATH.lock`` for as long as the process lives.

    The kernel lets go of it when the process ends, however it ends. Reading the
    database with other tools stays possible.

    Args:
        path: the database file; its folder is created.
        holder: what is written into the lock for others to read.

    Raises:
        StartupError: another process holds it, or the folder can't be written.
    """

    def __init__(self, path: str, *, holder: str) -> None:
        lock = Path(f"{path}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = lock.open("a+")
        except OSError as error:
            raise StartupError(f"can't use the database {path}: {error}") from error
        try:
            self._take(path, holder)
        except OSError as error:
            self._lock.close()
            raise StartupError(f"can't use the database {path}: {error}") from error
        except StartupError:
            self._lock.close()
            raise

    def _take(self, path: str, holder: str) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            other = self._lock.read().strip() or "another process"
            raise StartupError(
                f"the database {path} is in use by {other}; SQLite serves one process:"
                " stop it, or give this one another database"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"the {holder}, process {os.getpid()}\n")
        self._lock.flush()
        # Addresses and bodies are nobody else's business.
        Path(path).touch(mode=0o600)

    def release(self) -> None:
        """Let another process have the file."""
        self._lock.close()
