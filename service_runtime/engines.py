"""What a store needs of the kind of database it is on, and nothing else knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa


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
    """

    writer: sa.Engine
    reader: sa.Engine
    probe: Callable[[sa.Connection], None]
    release: Callable[[], None]
