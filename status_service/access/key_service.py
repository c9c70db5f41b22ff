"""What can be done with the keys of an organisation: the layer under gRPC, HTTP and pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from service_runtime.access import require
from service_runtime.caller import Scope
from service_runtime.database_time import read_clock
from service_runtime.errors import InvalidRequestError
from status_service.access import key_store, keys
from status_service.access.key_store import NewKeyData
from status_service.errors import KeyEndedError, KeyNotFoundError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.pages import Page, PageRequest
    from status_service.access.key_access import KeyAccess
    from status_service.access.key_store import Key
    from status_service.access.keys import NewKey

log = structlog.get_logger()


class NewKeyOrder(NamedTuple):
    """A key that is to be made.

    Attributes:
        name: what people will call it.
        scopes: what it will allow.
        expire_time: when it will stop; None: never.
    """

    name: str
    scopes: frozenset[Scope]
    expire_time: datetime | None


class MadeKey(NamedTuple):
    """A key that was just made, and the key itself, to be shown once."""

    key: Key
    secret: NewKey


class RotatedKey(NamedTuple):
    """The new key, and the one that it replaces."""

    made: MadeKey
    former: Key


class KeyService:
    """The keys of all organisations, managed by one caller at a time.

    Args:
        store: the database.
        access: learns at once what changes here.
    """

    def __init__(self, store: Store, access: KeyAccess) -> None:
        self._store = store
        self._access = access

    async def create(self, caller: Caller, order: NewKeyOrder) -> MadeKey:
        """Make a key of the caller's organisation.

        Raises:
            InvalidRequestError: it would have expired already.
            ScopeMissingError: the caller can't give the scope ``service``.
        """
        _check_service(caller, order.scopes)
        secret = keys.generate()
        data = NewKeyData(
            caller.organisation, order.name, order.scopes, caller.actor, order.expire_time
        )
        key = await self._store.write(partial(create, secret=secret, data=data))
        self._access.forget(key.key_id)
        _log_change("key_created", key, caller, scopes=sorted(key.scopes))
        return MadeKey(key, secret)

    async def list_keys(self, caller: Caller, page: PageRequest) -> Page:
        """Return a page of keys: :func:`.key_store.list_page`."""
        return await self._store.read(
            partial(key_store.list_page, organisation=caller.organisation, page=page)
        )

    async def revoke(self, caller: Caller, key_id: str) -> Key:
        """End a key; also where that was done before.

        Raises:
            KeyNotFoundError: the caller's organisation has no such key.
        """

        def revoked(connection: sa.Connection) -> Key:
            key_store.revoke(connection, caller.organisation, key_id)
            return _get(connection, caller.organisation, key_id)

        key = await self._store.write(revoked)
        self._access.forget(key_id)
        _log_change("key_revoked", key, caller)
        return key

    async def rotate(self, caller: Caller, key_id: str, overlap: timedelta) -> RotatedKey:
        """Make a second key like one, which stops after ``overlap``.

        The new key lives as long as the old one was made for, also where the old one was
        rotated before and stops soon: so a call whose answer was lost is safe to repeat.

        Raises:
            KeyNotFoundError: the caller's organisation has no such key.
            KeyEndedError: it has expired or was revoked.
            ScopeMissingError: the caller can't give the scope ``service``.
        """
        secret = keys.generate()

        def rotated(connection: sa.Connection) -> RotatedKey:
            old = _get(connection, caller.organisation, key_id)
            now = read_clock(connection)
            _check_usable(old, now)
            _check_service(caller, old.scopes)
            expire_time = None if old.life is None else now + timedelta(microseconds=old.life)
            data = NewKeyData(old.organisation, old.name, old.scopes, caller.actor, expire_time)
            new = key_store.insert(connection, secret, data)
            key_store.expire(connection, caller.organisation, key_id, now + overlap)
            return RotatedKey(MadeKey(new, secret), _get(connection, caller.organisation, key_id))

        done = await self._store.write(rotated)
        for key in (done.made.key, done.former):
            self._access.forget(key.key_id)
        _log_change("key_rotated", done.made.key, caller, former_key_id=key_id)
        return done


def create(connection: sa.Connection, secret: NewKey, data: NewKeyData) -> Key:
    """Store a key.

    Raises:
        InvalidRequestError: it would have expired already.
    """
    if data.expire_time is not None and data.expire_time <= read_clock(connection):
        raise InvalidRequestError.of({"expire_time": "this time is past; name a later one"})
    return key_store.insert(connection, secret, data)


def _get(connection: sa.Connection, organisation: str, key_id: str) -> Key:
    found = key_store.get(connection, organisation, key_id)
    if found is None:
        raise KeyNotFoundError(key_id)
    return found


def _check_usable(key: Key, now: datetime) -> None:
    if key.revoke_time is not None:
        raise KeyEndedError(key.key_id, how="was revoked")
    if key.expire_time is not None and key.expire_time <= now:
        raise KeyEndedError(key.key_id, how="has expired")


def _check_service(caller: Caller, scopes: frozenset[Scope]) -> None:
    """Let only a service make another one: it may act for every organisation."""
    if Scope.SERVICE in scopes:
        require(caller, Scope.SERVICE)


def _log_change(event: str, key: Key, caller: Caller, **facts: object) -> None:
    log.info(
        event,
        key_id=key.key_id,
        name=key.name,
        organisation=key.organisation,
        actor=caller.actor,
        on_behalf_of=caller.on_behalf_of,
        **facts,
    )
