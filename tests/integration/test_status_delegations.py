"""What a page shows a sender in place of a key: for a minute, through GetCaller alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from closeout.aio import AccessClient, StatusClient
from closeout.errors import ClientError, UnauthenticatedError
from integration.databases import Database
from integration.key_support import delegated, make_key
from integration.status_support import Status, eventually, serving
from providers.plain_http import NO_TLS
from service_runtime.access import Credentials
from service_runtime.caller import Caller, Scope
from service_runtime.database import Store
from service_runtime.errors import KeyInvalidError, ServiceError, TooManyAttemptsError
from status_service.access.delegations import LASTS, Delegations
from status_service.access.key_access import AccessLimits, KeyAccess
from status_service.access.keys import NewKey
from status_service.migrations import MIGRATIONS

_READ, _BOTH = frozenset({Scope.READ}), frozenset({Scope.READ, Scope.WRITE})
_LIMITS = AccessLimits(kept_seconds=0.0, recheck_seconds=0.1)


class Bench:
    """A database with delegations, as the instances that share it make and know them."""

    def __init__(self, database: Database, store: Store) -> None:
        self.database = database
        self.store = store
        self.delegations = Delegations(store, KeyAccess(store, limits=_LIMITS))
        self.key: NewKey
        self.caller: Caller

    def execute(self, statement: str, *values: object) -> list[Any]:
        """Run one statement by hand; return the rows."""
        with self.database.by_hand() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    async def shown(self, *, scopes: frozenset[Scope] = _BOTH, name: str = "ops") -> str:
        """Return what a sender is shown for a new key, whose name is given."""
        self.key = make_key(self.database, name=name, scopes=[*_BOTH, Scope.ADMIN])
        self.caller = Caller(
            "default",
            actor=f"key:{name} via dashboard",
            scopes=frozenset({*_BOTH, Scope.ADMIN}),
            key_id=self.key.key_id,
            key_name=name,
        )
        return await self.delegations.authorization(self.caller, scopes)

    async def refusal(self, authorization: str, **changed: str) -> str:
        """Return why it is refused."""
        with pytest.raises(ServiceError) as caught:
            await self.caller_of(authorization, **changed)
        return caught.value.reason

    async def caller_of(self, authorization: str, **changed: str) -> Caller:
        """Return whose it is, as another instance finds it."""
        other = Delegations(self.store, KeyAccess(self.store, limits=_LIMITS))
        return await other.authenticate(credentials(authorization, **changed))

    def age(self, by: timedelta) -> None:
        """Let all of them be so much older."""
        micros = round(by.total_seconds() * 1_000_000)
        self.execute("UPDATE delegations SET expire_time = expire_time - ?", micros)

    def rows(self) -> int:
        """Return how many there are."""
        ((count,),) = self.execute("SELECT count(*) FROM delegations")
        return int(count)


def credentials(authorization: str, organization: str = "") -> Credentials:
    """Return what a sender says of its caller."""
    return Credentials(authorization, organization, "", "ipv4:10.0.0.1:7")


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    """Delegations in a database of each kind."""
    store = Store(database.url, MIGRATIONS, holder="test")
    try:
        yield Bench(database, store)
    finally:
        store.close()


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    """A service with a key, and what one of its pages shows a sender."""
    async with serving(database, limits=_LIMITS) as serving_status:
        yield serving_status


def key_of(status: Status, name: str, *scopes: Scope) -> NewKey:
    """Return a new key."""
    return make_key(status.database, name=name, scopes=scopes)


async def test_a_sender_learns_the_key_of_the_session(bench: Bench) -> None:
    """Its organisation, its name with "via dashboard", and no more than read and write."""
    caller = await bench.caller_of(await bench.shown())
    assert caller.organisation == "default"
    assert caller.actor == "key:ops via dashboard"
    assert caller.key_id == bench.key.key_id
    assert caller.scopes == _BOTH
    assert (await bench.caller_of(await bench.shown(scopes=_READ))).scopes == _READ


async def test_it_is_shared_for_some_seconds_only(bench: Bench) -> None:
    """Pages of one key share one, and those of another key or with other scopes do not."""
    first = await bench.shown()
    assert await bench.delegations.authorization(bench.caller, _BOTH) == first
    assert await bench.delegations.authorization(bench.caller, _READ) != first
    now = [0.0]
    aged = Delegations(bench.store, KeyAccess(bench.store), clock=lambda: now[0])
    second = await aged.authorization(bench.caller, _BOTH)
    now[0] = 21.0
    assert await aged.authorization(bench.caller, _BOTH) not in {first, second}


async def test_without_keys_nothing_is_shown(bench: Bench) -> None:
    """Before the first key, everybody is known to a sender without one."""
    caller = Caller("default", actor="ipv4:127.0.0.1:1 via dashboard")
    assert await bench.delegations.authorization(caller, _BOTH) == ""
    assert bench.rows() == 0


async def test_it_ends_after_a_minute(bench: Bench) -> None:
    """Then it can't be shown again, on any instance."""
    shown = await bench.shown()
    bench.age(LASTS - timedelta(seconds=30))
    await bench.caller_of(shown)
    bench.age(timedelta(seconds=30))
    assert await bench.refusal(shown) == "KEY_EXPIRED"


@pytest.mark.parametrize(
    ("column", "reason"), [("revoke_time", "KEY_REVOKED"), ("expire_time", "KEY_EXPIRED")]
)
async def test_it_ends_with_its_key(bench: Bench, column: str, reason: str) -> None:
    """At once, since what is read of one is not kept."""
    shown = await bench.shown()
    await bench.caller_of(shown)
    ended = f"UPDATE keys SET {column} = create_time WHERE key_id = ?"  # noqa: S608 - ours
    bench.execute(ended, bench.key.key_id)
    assert await bench.refusal(shown) == reason


async def test_a_key_that_lost_a_scope_takes_it_along(bench: Bench) -> None:
    """It allows what both it and its key allow now."""
    shown = await bench.shown()
    bench.execute("UPDATE keys SET scopes = 'read' WHERE key_id = ?", bench.key.key_id)
    assert (await bench.caller_of(shown)).scopes == _READ


async def test_it_names_no_organisation(bench: Bench) -> None:
    """It acts for that of its key, whatever comes with it."""
    assert await bench.refusal(await bench.shown(), organization="rival") == "SCOPE_MISSING"


async def test_wrong_ones_are_limited(bench: Bench) -> None:
    """Who guesses is refused, and soon without a look at the database; a key goes on."""
    wrong = f"Bearer closeout_via_{'a' * 43}"
    right = await bench.shown()
    found = []
    for _ in range(12):
        with pytest.raises((KeyInvalidError, TooManyAttemptsError)) as caught:
            await bench.delegations.authenticate(credentials(wrong))
        found.append(caught.value.reason)
    assert found[0] == "KEY_INVALID"
    assert found[-1] == "TOO_MANY_ATTEMPTS"
    of_key = credentials(f"Bearer {bench.key.text}")
    assert (await bench.delegations.authenticate(of_key)).key_id == bench.key.key_id
    elsewhere = replace(credentials(right), peer="ipv4:10.0.0.2:7")
    assert await bench.delegations.authenticate(elsewhere)


async def test_it_is_no_key_anywhere_else(status: Status) -> None:
    """The status service refuses it as its own caller, by gRPC, by HTTP, and at sign-in."""
    key = key_of(status, "ops", Scope.READ, Scope.WRITE, Scope.ADMIN)
    token = delegated(status.database, key)
    shown = f"Bearer {token}"
    async with (
        StatusClient(status.address, api_key=token) as client,
        AccessClient(status.address, api_key=token) as access,
        httpx.AsyncClient(verify=NO_TLS, base_url=status.url) as http,
    ):
        for call in (
            client.get_campaign(campaign_id="a"),
            client.create_campaign(campaign_id="a"),
            access.get_caller(),
            access.create_key(name="more", scopes=["read"]),
        ):
            with pytest.raises(UnauthenticatedError) as caught:
                await call
            assert caught.value.reason == "KEY_MALFORMED"
        answer = await http.get("/v1/campaigns/a", headers={"authorization": shown})
        assert answer.status_code == 401
        same = {"origin": status.url, "sec-fetch-site": "same-origin"}
        answer = await http.post("/sign-in", data={"key": token}, headers=same)
        assert "closeout-session" not in answer.cookies


async def test_only_a_sender_can_ask_whose_it_is(status: Status) -> None:
    """A key without the scope service learns nothing; the sender's learns it."""
    key = key_of(status, "ops", Scope.READ, Scope.WRITE, Scope.ADMIN)
    shown = f"Bearer {delegated(status.database, key)}"
    plain = key_of(status, "plain", Scope.READ, Scope.WRITE, Scope.ADMIN)
    sender = key_of(status, "sender", Scope.SERVICE)
    async with (
        AccessClient(status.address, api_key=plain.text) as stranger,
        AccessClient(status.address, api_key=sender.text) as known,
    ):
        with pytest.raises(ClientError) as caught:
            await stranger.get_caller(authorization=shown, for_peer="ipv4:10.0.0.1:7")
        assert caught.value.reason == "SCOPE_MISSING"
        found = await known.get_caller(authorization=shown, for_peer="ipv4:10.0.0.1:7")
    assert (found.actor, found.scopes) == ("key:ops via dashboard", ["read", "write"])


async def test_it_is_in_no_list_of_keys(status: Status) -> None:
    """ListKeys shows the keys of people, and those alone; and it is no first key."""
    key = key_of(status, "ops", Scope.ADMIN)
    delegated(status.database, key)
    async with AccessClient(status.address, api_key=key.text) as access:
        listed = [found.key_id async for found in access.list_keys()]
    assert listed == [key.key_id]


async def test_those_that_ended_vanish(bench: Bench) -> None:
    """However many they are; those that hold stay."""
    await bench.shown()
    bench.execute(
        "INSERT INTO delegations (delegation, key_id, scopes, expire_time)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 350)"
        " SELECT 'old-' || i, 'nobody', 'read', 1 FROM n"
    )
    sweeping = asyncio.create_task(bench.delegations.sweep(every_seconds=0.01))
    try:

        async def swept() -> bool:
            return bench.rows() == 1

        await eventually(swept, what="those that ended are gone")
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
