"""Work that one instance does for all of them: a lease in the database, by its clock.

Where two instances share a database, each asks for the duty; the one that has it goes on
asking before it ends. A holder that was killed, or cut off, loses it by time alone; on
SQLite, which one process has at a time, whoever asks is the only one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database_time import read_clock
from status_service.schema import duties

if TYPE_CHECKING:
    from datetime import datetime

#: How long a duty stays with an instance that gives no sign of life.
LEASE = timedelta(seconds=20)


def take(connection: sa.Connection, duty: str, holder: str) -> datetime | None:
    """Take a duty, or keep it for longer; return until when, or None: somebody else has it.

    Args:
        connection: in a write transaction.
        duty: its name.
        holder: a name of this process that no other one has or had.
    """
    now = read_clock(connection)
    until = now + LEASE
    statement = insert(duties).values(duty=duty, holder=holder, until_time=until)
    return connection.execute(
        statement.on_conflict_do_update(
            index_elements=[duties.c.duty],
            set_={"holder": holder, "until_time": until},
            where=None if connection.dialect.name == "sqlite" else _is_free(holder, now),
        ).returning(duties.c.until_time)
    ).scalar_one_or_none()


def _is_free(holder: str, now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(
        duties.c.holder == holder,
        duties.c.until_time < now,
        # Nobody has it for so long: the clock went back since.
        duties.c.until_time > now + LEASE,
    )


def leave(connection: sa.Connection, duty: str, holder: str) -> None:
    """Leave a duty to the others at once; nothing happens if another one has it."""
    connection.execute(sa.delete(duties).where(duties.c.duty == duty, duties.c.holder == holder))


def holds(connection: sa.Connection, duty: str, holder: str) -> bool:
    """Return whether a duty is this holder's, and stays so until the write transaction ends."""
    found = connection.execute(
        sa.select(duties.c.holder)
        .where(duties.c.duty == duty, duties.c.until_time > read_clock(connection))
        .with_for_update(read=True)
    ).scalar_one_or_none()
    return found == holder
