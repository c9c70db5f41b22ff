"""What a store needs of the kind of database it is on, and nothing else knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Takes a channel; the payloads of its notifications come while the block runs. Raises
#: StoreUnavailableError where the database does not answer, at any time.
Listen: TypeAlias = Callable[[str], AbstractAsyncContextManager[AsyncIterator[str]]]


@dataclass(frozen=True, slots=True)
class Engines:
    """A database, opened.

    Attributes:
        writer: every transaction of it may write; what it has read and locked stays
            true to its end.
        reader: every transaction of it sees one snapshot.
        probe: takes up room in a transaction and gives it back; fails where nothing
            can be stored.
        migrating: a transaction that no other process migrates beside, and whose
            tables may be changed.
        release: lets others have the database; called last.
        writers: how many transactions that write may run at once.
        listen: hears what the database tells of on a channel; None where nobody else
            can change anything.
    """

    writer: sa.Engine
    reader: sa.Engine
    probe: Callable[[sa.Connection], None]
    migrating: Callable[[], AbstractContextManager[sa.Connection]]
    release: Callable[[], None]
    writers: int = 1
    listen: Listen | None = None

    @property
    def url(self) -> str:
        """The URL without its password."""
        return url_of(self.writer)

    def close(self) -> None:
        """Close the connections, and let others have the database."""
        self.reader.dispose()
        self.writer.dispose()
        self.release()


def url_of(engine: sa.Engine) -> str:
    """Return the URL of a database as people write it, without its password."""
    return engine.url.set(drivername=engine.url.get_backend_name()).render_as_string()
