"""Sessions of pages: a cookie that stands for a key, known to every instance.

The cookie has 32 random bytes, the database their SHA-256 and the id of the key; neither
has the key. A session ends 12 hours after sign-in, after an hour without a page, at
sign-out, and with its key.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.schema import sessions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service_runtime.caller import Caller
    from service_runtime.database import Store

#: How long a session lasts, and how long without a page.
LONGEST, IDLE = timedelta(hours=12), timedelta(hours=1)
#: Sessions of one key at once; one more ends the one that was used longest ago.
MOST_OF_A_KEY = 200
#: How exactly the last page is known: one write in so long.
_NOTED = timedelta(minutes=1)
#: The same of a page that stays open.
_NOTED_OPEN = timedelta(minutes=5)
#: Pages that stay open are gathered for so long, seconds.
_GATHERING = 0.25
#: How long a note is kept.
_NOTE_LASTS = timedelta(minutes=10)


#: Rows of sessions by their digests, and the database's time.
Found: TypeAlias = "tuple[Mapping[str, sa.Row[Any]], datetime]"


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
        self._asked: set[str] = set()
        self._asking: asyncio.Task[Found] | None = None

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
        rows, now = await self._store.read(partial(_read, digests=[digest]))
        row = rows.get(digest)
        if row is None or not _holds(row, now):
            return None
        if now - row.seen_time >= _NOTED:
            await self._store.write(partial(_see, digests=[digest]))
        return Session(digest, token.encode(), row.key_id, row.organisation)

    async def find_soon(self, token: str) -> Session | None:
        """Do as :meth:`find`, for a page that stays open and asks now and then.

        Those who ask at about the same time are answered by one read.
        """
        if not token:
            return None
        digest = _digest(token)
        self._asked.add(digest)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="sessions")
        rows, now = await asyncio.shield(self._asking)
        row = rows.get(digest)
        if row is None or not _holds(row, now):
            return None
        return Session(digest, token.encode(), row.key_id, row.organisation)

    async def _ask(self) -> Found:
        await asyncio.sleep(_GATHERING)
        asked, self._asked, self._asking = self._asked, set(), None
        rows, now = await self._store.read(partial(_read, digests=list(asked)))
        unseen = [
            digest
            for digest, row in rows.items()
            if _holds(row, now) and now - row.seen_time >= _NOTED_OPEN
        ]
        if unseen:
            await self._store.write(partial(_see, digests=unseen))
        return rows, now

    async def end(self, token: str) -> None:
        """Delete the session of a cookie."""
        if token:
            await self._store.write(partial(_delete, digest=_digest(token)))

    async def note(self, digest: str, text: str) -> None:
        """Keep a text with a session for ten minutes, instead of the one before."""
        await self._store.write(partial(_note, digest=digest, text=text))

    async def noted(self, digest: str) -> str:
        """Return the text that is kept with a session; empty: none is."""
        rows, now = await self._store.read(partial(_read, digests=[digest]))
        row = rows.get(digest)
        if row is None or row.note_time is None:
            return ""
        return row.note if now - row.note_time < _NOTE_LASTS else ""


def _holds(row: sa.Row[Any], now: datetime) -> bool:
    holds: bool = now < row.expire_time and now - row.seen_time < IDLE
    return holds


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


def _read(connection: sa.Connection, *, digests: Sequence[str]) -> Found:
    rows = connection.execute(sa.select(sessions).where(sessions.c.session.in_(digests)))
    return {row.session: row for row in rows}, read_clock(connection)


def _see(connection: sa.Connection, *, digests: Sequence[str]) -> None:
    _update(connection, digests, seen_time=read_clock(connection))


def _note(connection: sa.Connection, *, digest: str, text: str) -> None:
    _update(connection, [digest], note=text, note_time=read_clock(connection))


def _update(connection: sa.Connection, digests: Sequence[str], **values: object) -> None:
    connection.execute(sa.update(sessions).where(sessions.c.session.in_(digests)).values(**values))


def _delete(connection: sa.Connection, *, digest: str) -> None:
    connection.execute(sa.delete(sessions).where(sessions.c.session == digest))
