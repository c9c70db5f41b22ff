"""Who calls the status service: the check of keys that every call passes.

A key is parsed, its check sum verified, its row read by its id, and its secret compared in
constant time. An unknown id costs the same. What was found is kept for some seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from service_runtime.caller import ALL_SCOPES, DEFAULT_ORGANISATION, Caller, Scope
from service_runtime.errors import (
    InvalidRequestError,
    KeyExpiredError,
    KeyInvalidError,
    KeyMalformedError,
    KeyMissingError,
    KeyRevokedError,
    ScopeMissingError,
    ServiceError,
    StoreUnavailableError,
    TooManyAttemptsError,
)
from service_runtime.port_holder import is_loopback_host
from service_runtime.sampled_log import SampledLog
from status_service.access import key_store, keys
from status_service.access.attempts import Attempts, address_of
from status_service.access.found_keys import FoundKeys
from status_service.access.names import is_organisation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from service_runtime.access import Credentials
    from service_runtime.database import Store
    from status_service.access.key_store import FoundKey, Key
    from status_service.access.keys import PresentedKey

#: Keys that nobody has shown to be right, of all addresses together, that are read at once.
MOST_READS = 64
#: Compared with the secret of a key that does not exist, so that this costs the same.
_NO_SECRET = bytes(32)
_REFUSED_TOO_OFTEN = "too many keys from this address were refused"
_READ_TOO_OFTEN = "too many unknown keys are being looked up"
#: When to come back after too many refused keys, seconds.
_RETRY_SECONDS = 1.0
#: Uses are gathered for so long before they are written, seconds.
_GATHER_USES_SECONDS = 1.0
#: How long after the write of the last use of a key the next one is noted, seconds.
_USE_SECONDS = key_store.USE_PRECISION.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLimits:
    """How long a key is taken for what it was, and how many may be refused.

    Attributes:
        kept_seconds: how long what was read of a key is kept.
        recheck_seconds: how often a stream asks whether its key still holds.
        attempts_per_second: as many keys of one address may be refused.
    """

    kept_seconds: float = 5.0
    recheck_seconds: float = 5.0
    attempts_per_second: int = 10


class KeyAccess:
    """Knows callers by their keys; before the first key, everybody is ``default``.

    Attributes:
        refusals: how many calls were refused since the start, by reason.

    Args:
        store: the database, which has the keys.
        limits: how long what was read is kept, and how many may be refused.
        any_host: whether callers without a key may call the service by any name.
    """

    def __init__(
        self, store: Store, *, limits: AccessLimits = AccessLimits(), any_host: bool = False
    ) -> None:
        self._store = store
        self._any_host = any_host
        self._found = FoundKeys(store, kept_seconds=limits.kept_seconds)
        self._attempts = Attempts(limits.attempts_per_second)
        self._log = SampledLog("key_refused")
        self._refusals: Counter[str] = Counter()
        self._uses = _Uses()

    @property
    def refusals(self) -> Mapping[str, int]:  # noqa: D102 - an attribute of the class
        return self._refusals

    async def keys_exist(self) -> bool:
        """Return whether any key was ever made; true for good once it is.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        return await self._found.exist()

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return who calls, and for which organisation.

        Raises:
            ServiceError: UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED, with the
                reason; UNAVAILABLE if the database does not answer.
        """
        try:
            if not await self._found.exist() and not await self._is_first_key(credentials):
                return _anybody(credentials, any_host=self._any_host)
            key = await self._key_of(credentials)
            return _acting(key, credentials.organization, credentials.on_behalf_of)
        except ServiceError as error:
            self._refusals[error.reason] += 1
            raise

    async def caller_of_key(
        self, key_id: str, organisation: str = "", on_behalf_of: str = ""
    ) -> Caller:
        """Return who calls with a key whose secret was right once: the owner of a session.

        Args:
            key_id: its public part.
            organisation: the one it acts for; empty: that of the key.
            on_behalf_of: for whom it says it acts.

        Raises:
            KeyInvalidError: there is no such key.
            KeyExpiredError: it has expired.
            KeyRevokedError: it was revoked.
            ScopeMissingError: it may not act for that organisation.
            StoreUnavailableError: the database does not answer.
        """
        found = self._found.fresh(key_id) or await self._found.read(key_id)
        if found is None:
            raise _invalid()
        self._check_valid(found)
        named = "" if organisation == found.key.organisation else organisation
        return _acting(found.key, named, on_behalf_of)

    def forget(self, key_id: str) -> None:
        """Take note that a key was made or changed here, so that it counts at once."""
        self._found.made()
        self._found.forget(key_id)

    async def record_uses(self) -> None:
        """Write when keys were used last. Runs until cancelled."""
        while True:
            key_ids = await self._uses.gathered()
            try:
                await self._store.write(partial(key_store.record_uses, key_ids=key_ids))
            except StoreUnavailableError:  # logged by the store; the next use is noted again
                self._uses.failed(key_ids)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _is_first_key(self, credentials: Credentials) -> bool:
        """Return whether a call has a key that was made a moment ago, elsewhere.

        Who has it is served as its organisation at once; a key of another service is not one.
        """
        try:
            presented = keys.parse_bearer(credentials.authorization)
        except (KeyMalformedError, KeyMissingError):
            return False
        if self._found.reading >= MOST_READS:
            self._raise(address_of(credentials.peer), presented.key_id, _too_many(_READ_TOO_OFTEN))
        return await self._found.read(presented.key_id) is not None

    async def _key_of(self, credentials: Credentials) -> Key:
        address = address_of(credentials.peer)
        try:
            presented = keys.parse_bearer(credentials.authorization)
        except KeyMalformedError as error:
            self._refuse(address, "", error)
        except KeyMissingError as error:
            self._raise(address, "", error)
        found = await self._look_up(presented, address)
        if not presented.matches(_NO_SECRET if found is None else found.secret_hash):
            self._refuse(address, presented.key_id, _invalid())
        assert found is not None  # noqa: S101 - no secret has the hash of nobody's
        try:
            self._check_valid(found)
        except ServiceError as error:
            self._refuse(address, presented.key_id, error)
        self._uses.add(presented.key_id)
        return found.key

    async def _look_up(self, presented: PresentedKey, address: str) -> FoundKey | None:
        """Return the key with the id of the presented one; from memory only for its owner."""
        fresh = self._found.fresh(presented.key_id)
        if presented.matches(_NO_SECRET if fresh is None else fresh.secret_hash):
            return fresh
        # Who showed the secret before is not kept waiting by those who guess beside him.
        known = self._found.remembered(presented.key_id)
        if known is None or not presented.matches(known.secret_hash):
            if self._attempts.exhausted(address):
                self._raise(address, presented.key_id, _too_many(_REFUSED_TOO_OFTEN))
            if self._found.reading >= MOST_READS:
                self._raise(address, presented.key_id, _too_many(_READ_TOO_OFTEN))
        return await self._found.read(presented.key_id)

    def _refuse(self, address: str, key_id: str, error: ServiceError) -> NoReturn:
        """Count a refused key and raise its error, or that there were too many."""
        if not self._attempts.take(address):
            error = _too_many(_REFUSED_TOO_OFTEN)
        self._raise(address, key_id, error)

    def _raise(self, address: str, key_id: str, error: ServiceError) -> NoReturn:
        self._log.add_error(error, address=address, key_id=key_id)
        raise error

    def _check_valid(self, found: FoundKey) -> None:
        check_valid(found.key, self._found.now(found.key.key_id, found))


class _Uses:
    """The keys whose use is still to be written; not more than there are keys in use."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._written: dict[str, float] = {}  # when, on the clock of the event loop
        self._news = asyncio.Event()

    def add(self, key_id: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._written.get(key_id, -_USE_SECONDS) >= _USE_SECONDS:
            self._waiting.add(key_id)
            self._news.set()

    async def gathered(self) -> list[str]:
        """Wait for a use; return the keys that were used, once each."""
        await self._news.wait()
        await asyncio.sleep(_GATHER_USES_SECONDS)
        self._news.clear()
        now = asyncio.get_running_loop().time()
        key_ids, self._waiting = sorted(self._waiting), set()
        self._written = {
            key_id: at for key_id, at in self._written.items() if now - at < _USE_SECONDS
        } | dict.fromkeys(key_ids, now)
        return key_ids

    def failed(self, key_ids: list[str]) -> None:
        for key_id in key_ids:
            self._written.pop(key_id, None)


def _anybody(credentials: Credentials, *, any_host: bool) -> Caller:
    """Return the caller of a service that has no keys yet.

    A page whose own name leads to this machine could read and change everything else: a
    browser takes the service for the server of the page.
    """
    if credentials.host and not any_host and not is_loopback_host(credentials.host):
        raise KeyMissingError(
            "without a key this service is called as localhost or 127.0.0.1 only, so that no web"
            " page can use it: call it so, or make the first key: closeout keys create --admin"
        )
    if credentials.organization not in {"", DEFAULT_ORGANISATION}:
        raise ScopeMissingError(Scope.SERVICE)
    return Caller(
        DEFAULT_ORGANISATION,
        actor=credentials.peer,
        on_behalf_of=credentials.on_behalf_of,
        scopes=ALL_SCOPES,
    )


def _acting(key: Key, organisation: str, on_behalf_of: str) -> Caller:
    """Return the caller with a key, who acts for an organisation if it names one."""
    if organisation:
        if Scope.SERVICE not in key.scopes:
            raise ScopeMissingError(Scope.SERVICE)
        if not is_organisation(organisation):
            raise InvalidRequestError.of(
                {"closeout-organization": "not 1 to 64 of A-Z a-z 0-9 . _ -"}
            )
    return Caller(
        organisation or key.organisation,
        actor=f"key:{key.name}",
        on_behalf_of=on_behalf_of,
        scopes=key.scopes,
        key_id=key.key_id,
        key_name=key.name,
    )


def check_valid(key: Key, now: datetime) -> None:
    """Check that a key whose secret is right holds.

    Raises:
        KeyRevokedError: it was revoked.
        KeyExpiredError: it has expired.
    """
    if key.revoke_time is not None:
        raise KeyRevokedError(
            "this key was revoked; ask whoever manages the keys of your organisation for another"
        )
    if key.expire_time is not None and key.expire_time <= now:
        raise KeyExpiredError(
            "this key has expired; ask whoever manages the keys of your organisation for another"
        )


def _invalid() -> KeyInvalidError:
    return KeyInvalidError("there is no such key; check that the key is of this service")


def _too_many(reason: str) -> TooManyAttemptsError:
    return TooManyAttemptsError(
        f"{reason}; wait a second, and try again with a key that is right",
        retry_after_seconds=_RETRY_SECONDS,
    )
