"""The rows of keys: what is read and written of them, one function for each statement."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from service_runtime.caller import Scope
from service_runtime.database_time import database_now, read_clock
from service_runtime.pages import Page
from status_service.schema import keys

if TYPE_CHECKING:
    from collections.abc import Collection

    from service_runtime.pages import PageRequest
    from status_service.access.keys import NewKey

#: A use is written only if the one before is older than this.
USE_PRECISION = timedelta(minutes=1)


class Key(NamedTuple):
    """A key without its secret, as it is in the database.

    Attributes:
        key: its number within the store; only for pages.
        key_id: the public part.
        organisation: whose campaigns it sees.
        name: what people call it.
        scopes: what it allows.
        creator: who made it.
        create_time: when.
        expire_time: when it stops; None: never.
        revoke_time: when it was revoked; None: it was not.
        last_use_time: when it was used last, to the minute; None: never.
        life: how many microseconds it was made for; None: for ever. A rotation lets a key
            stop earlier, and leaves this.
    """

    key: int
    key_id: str
    organisation: str
    name: str
    scopes: frozenset[Scope]
    creator: str
    create_time: datetime
    expire_time: datetime | None
    revoke_time: datetime | None
    last_use_time: datetime | None
    life: int | None


class FoundKey(NamedTuple):
    """What a check needs of a key.

    Attributes:
        key: the key.
        secret_hash: the SHA-256 of its secret.
        read_time: the database's time when it was read.
    """

    key: Key
    secret_hash: bytes
    read_time: datetime


class NewKeyData(NamedTuple):
    """What is stored with a new key; as :class:`Key` has it."""

    organisation: str
    name: str
    scopes: frozenset[Scope]
    creator: str
    expire_time: datetime | None


_COLUMNS = [keys.c[name] for name in Key._fields]


def _key(row: Any) -> Key:
    values = row._mapping  # noqa: SLF001 - the documented name
    scopes = frozenset(map(Scope, values["scopes"].split()))
    return Key(**{name: values[name] for name in Key._fields} | {"scopes": scopes})


def exist(connection: sa.Connection) -> bool:
    """Return whether any key was ever made."""
    return bool(connection.execute(sa.select(sa.exists().select_from(keys))).scalar_one())


def find(connection: sa.Connection, key_id: str) -> FoundKey | None:
    """Return a key by its id, of whatever organisation."""
    statement = sa.select(*_COLUMNS, keys.c.secret_hash, database_now().label("now"))
    row = connection.execute(statement.where(keys.c.key_id == key_id)).one_or_none()
    if row is None:
        return None
    return FoundKey(_key(row), bytes(row.secret_hash), row.now)


def get(connection: sa.Connection, organisation: str, key_id: str) -> Key | None:
    """Return a key of an organisation."""
    statement = sa.select(*_COLUMNS).where(
        keys.c.organisation == organisation, keys.c.key_id == key_id
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _key(row)


def insert(connection: sa.Connection, new: NewKey, data: NewKeyData) -> Key:
    """Store a new key and return it."""
    values = data._asdict() | {"scopes": " ".join(sorted(data.scopes))}
    now = read_clock(connection)
    lives = data.expire_time - now if data.expire_time else None
    statement = sa.insert(keys).values(
        **values,
        key_id=new.key_id,
        secret_hash=new.secret_hash,
        create_time=now,
        life=None if lives is None else lives // timedelta(microseconds=1),
    )
    connection.execute(statement)
    made = get(connection, data.organisation, new.key_id)
    assert made is not None  # noqa: S101 - inserted above
    return made


def list_page(connection: sa.Connection, organisation: str, page: PageRequest) -> Page:
    """Return a page of the keys of an organisation, newest first.

    Raises:
        InvalidRequestError: the token is none of ours, or another organisation's.
    """
    question = ["keys", organisation]
    statement = sa.select(*_COLUMNS).where(keys.c.organisation == organisation)
    if after := page.after(question):
        statement = statement.where(keys.c.key < after[0])
    statement = statement.order_by(keys.c.key.desc()).limit(page.size + 1)
    rows = [_key(row) for row in connection.execute(statement)]
    return Page.of(rows, page, question, key_of=lambda row: [row.key])


def revoke(connection: sa.Connection, organisation: str, key_id: str) -> None:
    """Revoke a key, once: a later call changes nothing."""
    connection.execute(
        sa.update(keys)
        .where(
            keys.c.organisation == organisation,
            keys.c.key_id == key_id,
            keys.c.revoke_time.is_(None),
        )
        .values(revoke_time=database_now())
    )


def expire(connection: sa.Connection, organisation: str, key_id: str, at: datetime) -> None:
    """Let a key stop at a time, unless it stops before."""
    connection.execute(
        sa.update(keys)
        .where(
            keys.c.organisation == organisation,
            keys.c.key_id == key_id,
            sa.or_(keys.c.expire_time.is_(None), keys.c.expire_time > at),
        )
        .values(expire_time=at)
    )


def record_uses(connection: sa.Connection, key_ids: Collection[str]) -> None:
    """Write that keys are used now, those apart whose last use is younger than a minute."""
    # A parameter of the type of the column: microseconds.
    earlier = sa.literal(int(USE_PRECISION.total_seconds() * 1_000_000), sa.BigInteger)
    now = sa.type_coerce(database_now(), sa.BigInteger)
    last = sa.type_coerce(keys.c.last_use_time, sa.BigInteger)
    connection.execute(
        sa.update(keys)
        .where(keys.c.key_id.in_(sorted(key_ids)), sa.or_(last.is_(None), last < now - earlier))
        .values(last_use_time=database_now())
    )
