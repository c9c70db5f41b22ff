"""Sessions of pages: a cookie that stands for a key, known to every instance.

The cookie has 32 random bytes, the database their SHA-256 and the id of the key; neither
has the key. A session ends 12 hours after sign-in, after an hour without a page, at
sign-out, and with its key.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from service_runtime.database import read_clock
from status_service.schema import sessions

if TYPE_CHECKING:
    from service_runtime.caller import Caller
    from service_runtime.database import Store

#: How long a session lasts, and how long without a page.
LONGEST, IDLE = timedelta(hours=12), timedelta(hours=1)
#: Sessions of one key at once; one more ends the one that was used longest ago.
MOST_OF_A_KEY = 200
#: How exactly the last page is known: one write in so long.
_NOTED = timedelta(minutes=1)
#: How long a note is kept.
_NOTE_LASTS = timedelta(minutes=10)


class Session(NamedTuple):
    """A session that holds.

    Attributes:
        digest: its name in the database.
        secret: what its cookie has, for its form tokens.
        key_id: the key it stands for.
        organisation: whose pages it shows.
    """

    digest: str
    secret: bytes
    key_id: str
    organisation: str

    def __repr__(self) -> str:
        return f"Session(key_id={self.key_id!r})"  # the secret is never shown


class Sessions:
    """The sessions of all organisations.

    Args:
        store: the database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, caller: Caller) -> str:
        """Begin a session for the key of a caller; return what its cookie has."""
        token = secrets.token_urlsafe(32)
        await self._store.write(partial(_insert, digest=_digest(token), caller=caller))
        return token

    async def find(self, token: str) -> Session | None:
        """Return the session of a cookie; None if it is over, or never was."""
        if not token:
            return None
        digest = _digest(token)
        found = await self._store.read(partial(_read, digest=digest))
        if found is None:
            return None
        row, now = found
        if now >= row.expire_time or now - row.seen_time >= IDLE:
            return None
        if now - row.seen_time >= _NOTED:
            await self._store.write(partial(_see, digest=digest))
        return Session(digest, token.encode(), row.key_id, row.organisation)

    async def end(self, token: str) -> None:
        """Delete the session of a cookie."""
        if token:
            await self._store.write(partial(_delete, digest=_digest(token)))

    async def note(self, digest: str, text: str) -> None:
        """Keep a text with a session for ten minutes, instead of the one before."""
        await self._store.write(partial(_note, digest=digest, text=text))

    async def noted(self, digest: str) -> str:
        """Return the text that is kept with a session; empty: none is."""
        found = await self._store.read(partial(_read, digest=digest))
        if found is None or found[0].note_time is None:
            return ""
        row, now = found
        return row.note if now - row.note_time < _NOTE_LASTS else ""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _insert(connection: sa.Connection, *, digest: str, caller: Caller) -> None:
    now = read_clock(connection)
    # Whoever signs in clears away what nobody can use.
    connection.execute(
        sa.delete(sessions).where(
            sa.or_(sessions.c.expire_time <= now, sessions.c.seen_time <= now - IDLE)
        )
    )
    oldest = (
        sa.select(sessions.c.session)
        .where(sessions.c.key_id == caller.key_id)
        .order_by(sessions.c.seen_time.desc(), sessions.c.session)
        .offset(MOST_OF_A_KEY - 1)
    )
    connection.execute(sa.delete(sessions).where(sessions.c.session.in_(oldest)))
    connection.execute(
        sa.insert(sessions),
        {
            "session": digest,
            "key_id": caller.key_id,
            "organisation": caller.organisation,
            "create_time": now,
            "seen_time": now,
            "expire_time": now + LONGEST,
        },
    )


def _read(
    connection: sa.Connection, *, digest: str
) -> tuple[sa.Row[tuple[object, ...]], datetime] | None:
    row = connection.execute(sa.select(sessions).where(sessions.c.session == digest)).one_or_none()
    return None if row is None else (row, read_clock(connection))


def _see(connection: sa.Connection, *, digest: str) -> None:
    _update(connection, digest, seen_time=read_clock(connection))


def _note(connection: sa.Connection, *, digest: str, text: str) -> None:
    _update(connection, digest, note=text, note_time=read_clock(connection))


def _update(connection: sa.Connection, digest: str, **values: object) -> None:
    connection.execute(sa.update(sessions).where(sessions.c.session == digest).values(**values))


def _delete(connection: sa.Connection, *, digest: str) -> None:
    connection.execute(sa.delete(sessions).where(sessions.c.session == digest))
