"""The parts of a store that depend on the kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Reads that may run at once, and besides them reads that grow with what is read.
READERS, LONG_READERS = 2, 2
#: Takes a channel and yields the payloads of its notifications while the block runs.
#: Raises StoreUnavailableError at any time when the database does not answer.
Listen: TypeAlias = Callable[[str], AbstractAsyncContextManager[AsyncIterator[str]]]


@dataclass(frozen=True, slots=True)
class Engines:
    """An open database.

    Attributes:
        writer: for transactions that may write; rows that they read and locked stay
            unchanged to their end.
        reader: for transactions that read one snapshot.
        probe: allocates space in a transaction and frees it; fails when nothing can
            be stored.
        migrating: opens a transaction that excludes migrations of other processes
            and may change tables.
        release: releases the database for other processes; called last.
        writers: how many writing transactions may run at once.
        listen: receives the notifications of a channel; None if no other process can
            change the database.
        free_locks: ends transactions that hold locks and stand still; called when a lock was
            waited for in vain, in a transaction of ``reader``.
        exclusive: false beside a service that has the SQLite file: the version of the
            tables must stay as it is.
    """

    writer: sa.Engine
    reader: sa.Engine
    probe: Callable[[sa.Connection], None]
    migrating: Callable[[], AbstractContextManager[sa.Connection]]
    release: Callable[[], None]
    writers: int = 1
    listen: Listen | None = None
    free_locks: Callable[[sa.Connection], None] = lambda connection: None  # noqa: ARG005
    exclusive: bool = True

    @property
    def url(self) -> str:
        """The URL without its password."""
        return url_of(self.writer)

    def close(self) -> None:
        """Close the connections and release the database."""
        self.reader.dispose()
        self.writer.dispose()
        self.release()


def url_of(engine: sa.Engine) -> str:
    """Return the URL of a database as users write it, without its passwords."""
    url = engine.url
    query = {name: "***" if "password" in name else value for name, value in url.query.items()}
    return url.set(drivername=url.get_backend_name(), query=query).render_as_string()
