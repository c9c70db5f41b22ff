"""Delegations: what a page shows a sender in place of the key that its session has not.

A session of pages keeps no key, and a sender acts for a key alone. So the status service
makes a credential that stands for the key of the session for a minute, with no more than
its scopes read and write. The sender asks GetCaller whose it is, as of every caller.

It is good for nothing else: it has another form than a key, so every check but that of
GetCaller refuses it as malformed. It is in no list of keys, and ends with its key.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa

from service_runtime.caller import Caller, Scope
from service_runtime.database_time import read_clock
from service_runtime.errors import (
    KeyExpiredError,
    KeyInvalidError,
    ScopeMissingError,
    ServiceError,
    StoreUnavailableError,
    TooManyAttemptsError,
)
from service_runtime.sampled_log import SampledLog
from status_service.access import key_store
from status_service.access.attempts import Attempts, address_of
from status_service.access.key_access import check_valid
from status_service.schema import delegations

if TYPE_CHECKING:
    from collections.abc import Callable

    from service_runtime.access import Access, Credentials
    from service_runtime.database import Store
    from status_service.access.key_store import Key

#: How long one holds.
LASTS: Final = timedelta(seconds=60)
#: The most that one allows.
MOST_SCOPES: Final = frozenset({Scope.READ, Scope.WRITE})
#: How an audit trail names who came by a page.
VIA: Final = "via dashboard"
#: One is shown again for so long, seconds: a page has most of its minute before it.
_SHARED_SECONDS = 20.0
#: As many are remembered to be shown again.
_MOST_SHARED = 1_000
#: Rows that one statement deletes.
_DELETED_AT_ONCE = 100
#: How often those that ended are looked for, seconds.
_SWEEP_SECONDS = 60.0
#: As many wrong ones of one address are looked up in a second.
_WRONG_PER_SECOND = 10
_FORM = re.compile(r"bearer closeout_via_([0-9A-Za-z_-]{43})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Shared:
    authorization: str = field(repr=False)
    made_at: float


class _Found(NamedTuple):
    key: Key
    scopes: frozenset[Scope]
    expire_time: datetime
    now: datetime


class Delegations:
    """Makes credentials for the keys of sessions, and knows them again on every instance.

    Args:
        store: the database.
        keys: knows everybody else.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self, store: Store, keys: Access, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._shared: OrderedDict[tuple[str, frozenset[Scope]], _Shared] = OrderedDict()
        self._attempts = Attempts(_WRONG_PER_SECOND, clock)
        self._log = SampledLog("key_refused")

    async def authorization(self, caller: Caller, scopes: frozenset[Scope]) -> str:
        """Return what a sender is shown for a caller; empty: there are no keys, nor is one needed.

        Args:
            caller: of a session, checked.
            scopes: those that are needed; it gets those of them that its key has.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        if not caller.key_id:
            return ""
        name = (caller.key_id, scopes & caller.scopes & MOST_SCOPES)
        known = self._shared.get(name)
        if known is not None and self._clock() - known.made_at < _SHARED_SECONDS:
            return known.authorization
        begin, secret = self._clock(), secrets.token_urlsafe(32)
        await self._store.write(
            partial(_insert, digest=_digest(secret), key_id=name[0], scopes=name[1])
        )
        made = _Shared(f"Bearer closeout_via_{secret}", begin)
        self._shared[name] = made
        self._shared.move_to_end(name)
        if len(self._shared) > _MOST_SHARED:
            self._shared.popitem(last=False)
        return made.authorization

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller of a sender, by a key or by what a page has shown there.

        Raises:
            ServiceError: as that of keys.
        """
        shown = _FORM.fullmatch(credentials.authorization.strip())
        if shown is None:
            return await self._keys.authenticate(credentials)
        address = address_of(credentials.peer)
        try:
            found = await self._find(shown[1], address)
            if credentials.organization:
                raise ScopeMissingError(Scope.SERVICE)
        except StoreUnavailableError:
            raise
        except ServiceError as error:
            self._log.add_error(error, address=address, key_id="")
            raise
        key = found.key
        return Caller(
            key.organisation,
            actor=f"key:{key.name} {VIA}",
            on_behalf_of=credentials.on_behalf_of,
            scopes=found.scopes & key.scopes,
            key_id=key.key_id,
            key_name=key.name,
        )

    async def _find(self, secret: str, address: str) -> _Found:
        """Return what a secret stands for; what is read is not kept, so that it ends at once."""
        if self._attempts.exhausted(address):
            raise TooManyAttemptsError(
                "too many credentials of pages were wrong; try again in a second",
                retry_after_seconds=1.0,
            )
        found = await self._store.read(partial(_read, digest=_digest(secret)))
        try:
            if found is None:
                raise KeyInvalidError("there is no such credential of a page; load the page again")
            if found.expire_time <= found.now:
                raise KeyExpiredError("this credential of a page has expired; load the page again")
            check_valid(found.key, found.now)
        except ServiceError:
            self._attempts.take(address)
            raise
        return found

    async def sweep(self, every_seconds: float = _SWEEP_SECONDS) -> None:
        """Delete those that ended, some at a time. Runs until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                while await self._store.read(_has_ended):
                    await self._store.write(_delete_ended)
            except StoreUnavailableError:
                continue  # logged by the store; they wait for the next time


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _insert(
    connection: sa.Connection, *, digest: str, key_id: str, scopes: frozenset[Scope]
) -> None:
    connection.execute(
        sa.insert(delegations),
        {
            "delegation": digest,
            "key_id": key_id,
            "scopes": " ".join(sorted(scopes)),
            "expire_time": read_clock(connection) + LASTS,
        },
    )


def _read(connection: sa.Connection, *, digest: str) -> _Found | None:
    statement = sa.select(delegations).where(delegations.c.delegation == digest)
    row = connection.execute(statement).one_or_none()
    found = None if row is None else key_store.find(connection, row.key_id)
    if row is None or found is None:
        return None
    scopes = frozenset(map(Scope, row.scopes.split()))
    return _Found(found.key, scopes, row.expire_time, found.read_time)


def _has_ended(connection: sa.Connection) -> bool:
    return connection.execute(_ended(connection, 1)).first() is not None


def _delete_ended(connection: sa.Connection) -> None:
    some = _ended(connection, _DELETED_AT_ONCE).scalar_subquery()
    connection.execute(sa.delete(delegations).where(delegations.c.delegation.in_(some)))


def _ended(connection: sa.Connection, most: int) -> sa.Select[tuple[str]]:
    now = read_clock(connection)
    return sa.select(delegations.c.delegation).where(delegations.c.expire_time <= now).limit(most)
