"""Whether a service lives, and whether it can do its work now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from service_runtime.errors import StartupError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service_runtime.database import Store

#: A write that takes longer than this is no progress, seconds.
STUCK_SECONDS = 60.0
#: How often the version of the database is read, at most, seconds.
_VERSION_SECONDS = 15.0


class Drains(Protocol):
    """A server that knows whether it is going away."""

    @property
    def draining(self) -> bool:
        """True once it takes no new work."""


class Readiness:
    """What a service needs to do its work.

    Args:
        store: its database.
        server: its gRPC server.
        more: what else it needs, by name: why that is missing, or nothing.
    """

    def __init__(
        self, store: Store, server: Drains, more: Mapping[str, Callable[[], str]] | None = None
    ) -> None:
        self._store = store
        self._server = server
        self._more = dict(more or {})
        self._migrations = ""
        self._version_time = float("-inf")

    @property
    def missing(self) -> dict[str, str]:
        """What is missing, by name, with the reason; empty: the service is ready."""
        found = {
            "database": self._store.failure,
            "writer": self._writer,
            "migrations": self._migrations,
            "draining": "the service stops" if self._server.draining else "",
        }
        found |= {name: why() for name, why in self._more.items()}
        return {name: why for name, why in found.items() if why}

    @property
    def _writer(self) -> str:
        seconds = self._store.longest_write_seconds
        return f"a write has taken {seconds:.0f} s" if seconds > STUCK_SECONDS else ""

    @property
    def progresses(self) -> bool:
        """False if only a restart can help: a write has hung for longer than STUCK_SECONDS."""
        return not self._writer

    async def look(self) -> dict[str, str]:
        """Return what is missing, and read now and then whether the migrations fit."""
        now = time.monotonic()
        if now - self._version_time >= _VERSION_SECONDS and self._store.answering:
            self._version_time = now
            try:
                await self._store.check_version()
            except StartupError as error:
                self._migrations = str(error)
            except StoreUnavailableError:
                self._version_time = float("-inf")  # the store says so itself
            else:
                self._migrations = ""
        return self.missing
