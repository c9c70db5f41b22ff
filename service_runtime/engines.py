"""What a store needs of the kind of database it is on, and nothing else knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
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
        release: lets others have the database; called last.
        listen: hears what the database tells of on a channel; None where nobody else
            can change anything.
    """

    writer: sa.Engine
    reader: sa.Engine
    probe: Callable[[sa.Connection], None]
    release: Callable[[], None]
    listen: Listen | None = None
