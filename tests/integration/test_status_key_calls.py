"""The calls that manage keys: create, list, revoke, rotate, by clients of both kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from closeout.aio import AccessClient
from closeout.aio.channel import open_channel
from closeout.errors import (
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    from_rpc_error,
)
from closeout.status.v1 import access_pb2 as pb
from closeout.status.v1.access_pb2_grpc import AccessServiceStub
from closeout.times import to_datetime
from integration.databases import Database
from integration.key_support import credentials, make_key
from integration.status_support import Status, serving
from service_runtime.caller import ALL_SCOPES, Scope


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    """A service without a key, which remembers what it read as long as any."""
    async with serving(database) as service:
        yield service


@pytest.fixture
async def client(status: Status) -> AsyncIterator[AccessClient]:
    """A client without a key: as long as there is none, it may do everything."""
    async with AccessClient(status.address) as access:
        yield access


class WithKey:
    """The calls about keys with a key."""

    def __init__(self, stub: Any, text: str) -> None:
        self._stub = stub
        self._metadata = credentials(text)

    async def call(self, method: str, **fields: Any) -> Any:
        """Make a call."""
        request = getattr(pb, f"{method}Request")(**fields)
        return await getattr(self._stub, method)(request, metadata=self._metadata)


@pytest.fixture
async def admin(status: Status) -> AsyncIterator[WithKey]:
    """Whoever has a key with every scope but ``service``, of organisation ``acme``."""
    key = make_key(status.database, organisation="acme", name="admin", scopes=ALL_SCOPES)
    async with open_channel(status.address) as channel:
        yield WithKey(AccessServiceStub(channel), key.text)


async def test_the_clients_manage_keys(client: AccessClient) -> None:
    """Each method of the client reaches its rpc; the first key ends what needs none."""
    me = await client.get_caller()
    assert (me.organization, me.key_id) == ("default", "")
    assert [key async for key in client.list_keys()] == []
    soon = datetime.now(UTC) + timedelta(days=90)
    made = await client.create_key(name="ops", scopes=["admin", "read"], expire_time=soon)
    assert made.key.name == "ops"
    assert list(made.key.scopes) == ["admin", "read"]
    assert abs(to_datetime(made.key.expire_time) - soon) < timedelta(seconds=1)
    assert made.key.creator.startswith("ipv4:127.0.0.1:")
    for call in (client.get_caller(), client.revoke_key(key_id=made.key.key_id)):
        with pytest.raises(UnauthenticatedError) as caught:
            await call
        assert caught.value.reason == "KEY_MISSING"


async def test_a_new_key_is_of_the_organisation_of_who_makes_it(admin: WithKey) -> None:
    """It works at once, and the list has everything of it but the secret."""
    made = await admin.call("CreateKey", name="reporter", scopes=["report"])
    caller = await WithKey(admin._stub, made.secret_key).call("GetCaller")
    assert (caller.organization, caller.actor) == ("acme", "key:reporter")
    assert made.key.creator == "key:admin"
    listed = await admin.call("ListKeys")
    assert [key.name for key in listed.keys] == ["reporter", "admin"]
    assert listed.keys[0] == made.key
    assert made.secret_key not in str(listed)
    assert made.secret_key.rpartition("_")[2] not in str(listed)


async def test_keys_are_listed_page_by_page(admin: WithKey) -> None:
    """Newest first, each once."""
    for number in range(4):
        await admin.call("CreateKey", name=f"n{number}", scopes=["read"])
    names, token = [], ""
    while True:
        page = await admin.call("ListKeys", page_size=2, page_token=token)
        names += [key.name for key in page.keys]
        token = page.next_page_token
        if not token:
            break
    assert names == ["n3", "n2", "n1", "n0", "admin"]


async def test_a_revoked_key_is_refused_at_once(admin: WithKey) -> None:
    """Although it was used a moment ago; a second call changes nothing."""
    made = await admin.call("CreateKey", name="ops", scopes=["read"])
    used = WithKey(admin._stub, made.secret_key)
    await used.call("GetCaller")
    first = await admin.call("RevokeKey", key_id=made.key.key_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await used.call("GetCaller")
    assert "was revoked" in str(caught.value.details())
    assert await admin.call("RevokeKey", key_id=made.key.key_id) == first
    with pytest.raises(FailedPreconditionError) as ended:
        await _raised(admin.call("RotateKey", key_id=made.key.key_id))
    assert ended.value.reason == "KEY_ENDED"


async def test_both_keys_hold_while_one_is_rotated(admin: WithKey) -> None:
    """The new one is like the old one, which stops at its time; neither needs a pause."""
    soon = datetime.now(UTC) + timedelta(days=90)
    made = await admin.call("CreateKey", name="ops", scopes=["read", "write"], expire_time=soon)
    rotated = await admin.call("RotateKey", key_id=made.key.key_id, overlap_seconds=3600)
    assert (rotated.key.name, rotated.key.scopes) == ("ops", ["read", "write"])
    assert rotated.key.key_id != made.key.key_id
    life = to_datetime(rotated.key.expire_time) - to_datetime(rotated.key.create_time)
    assert abs(life - timedelta(days=90)) < timedelta(minutes=1)
    overlap = to_datetime(rotated.former_key.expire_time) - to_datetime(rotated.key.create_time)
    assert abs(overlap - timedelta(hours=1)) < timedelta(minutes=1)
    for text in (made.secret_key, rotated.secret_key):
        await WithKey(admin._stub, text).call("GetCaller")
    at_once = await admin.call("RotateKey", key_id=rotated.key.key_id, overlap_seconds=0)
    with pytest.raises(UnauthenticatedError) as caught:
        await _raised(WithKey(admin._stub, rotated.secret_key).call("GetCaller"))
    assert caught.value.reason == "KEY_EXPIRED"
    unlimited = await admin.call("CreateKey", name="ever", scopes=["read"])
    followed = await admin.call("RotateKey", key_id=unlimited.key.key_id)
    assert not followed.key.HasField("expire_time")
    day = to_datetime(followed.former_key.expire_time) - to_datetime(followed.key.create_time)
    assert abs(day - timedelta(days=1)) < timedelta(minutes=1)
    assert at_once.key.name == "ops"


async def test_a_rotation_is_safe_to_repeat(admin: WithKey) -> None:
    """Each successor lives as long as the key was made for; the key stops at the first time."""
    soon = datetime.now(UTC) + timedelta(days=90)
    made = await admin.call("CreateKey", name="ops", scopes=["read"], expire_time=soon)
    ever = await admin.call("CreateKey", name="ever", scopes=["read"])
    for old, life in ((made.key, timedelta(days=90)), (ever.key, None)):
        first = await admin.call("RotateKey", key_id=old.key_id, overlap_seconds=3600)
        again = await admin.call("RotateKey", key_id=old.key_id, overlap_seconds=7200)
        assert again.former_key.expire_time == first.former_key.expire_time
        assert again.key.HasField("expire_time") == (life is not None)
        if life is not None:
            lives = to_datetime(again.key.expire_time) - to_datetime(again.key.create_time)
            assert abs(lives - life) < timedelta(minutes=1)
        await WithKey(admin._stub, again.secret_key).call("GetCaller")


async def test_an_admin_makes_no_key_of_a_service(status: Status, admin: WithKey) -> None:
    """It could read every organisation: neither a new one, nor another like one."""
    service = make_key(
        status.database, organisation="acme", name="sender", scopes=[Scope.SERVICE, Scope.REPORT]
    )
    for call in (
        admin.call("CreateKey", name="x", scopes=["service"]),
        admin.call("RotateKey", key_id=service.key_id),
    ):
        with pytest.raises(PermissionDeniedError) as caught:
            await _raised(call)
        assert caught.value.metadata == {"scope": "service"}


async def test_keys_of_another_organisation_do_not_exist(status: Status, admin: WithKey) -> None:
    """They are neither listed, revoked nor rotated."""
    theirs = make_key(status.database, organisation="rival")
    for method in ("RevokeKey", "RotateKey"):
        with pytest.raises(NotFoundError) as caught:
            await _raised(admin.call(method, key_id=theirs.key_id))
        assert caught.value.reason == "KEY_NOT_FOUND"
    assert theirs.key_id not in str(await admin.call("ListKeys"))
    (row,) = status.execute(
        "SELECT revoke_time, expire_time FROM keys WHERE key_id = ?", theirs.key_id
    )
    assert tuple(row) == (None, None)


@pytest.mark.parametrize(
    ("method", "fields", "wrong"),
    [
        ("CreateKey", {}, {"name", "scopes"}),
        ("CreateKey", {"name": "a b", "scopes": ["rea"]}, {"name", "scopes[0]"}),
        ("CreateKey", {"name": "x" * 65, "scopes": ["read", "read"]}, {"name", "scopes[1]"}),
        ("CreateKey", {"name": "x", "scopes": ["read"] * 7}, {"scopes"}),
        (
            "CreateKey",
            {"name": "x", "scopes": ["read"], "expire_time": datetime(2020, 1, 1, tzinfo=UTC)},
            {"expire_time"},
        ),
        ("ListKeys", {"page_size": -1}, {"page_size"}),
        ("ListKeys", {"page_token": "x"}, {"page_token"}),
        ("RevokeKey", {}, {"key_id"}),
        ("RevokeKey", {"key_id": "closeout_abcdefghijkl_secret"}, {"key_id"}),
        ("RotateKey", {"key_id": "abcdefghijkl", "overlap_seconds": -1}, {"overlap_seconds"}),
        ("RotateKey", {"key_id": "x", "overlap_seconds": 10**9}, {"key_id", "overlap_seconds"}),
        ("GetCaller", {"organization": "x"}, {"for_peer"}),
        ("GetCaller", {"for_peer": "x", "authorization": "y" * 1_001}, {"authorization"}),
        ("GetCaller", {"for_peer": "x" * 201, "organization": "a b"}, {"for_peer", "organization"}),
    ],
)
async def test_every_wrong_field_is_named(
    admin: WithKey, method: str, fields: dict[str, Any], wrong: set[str]
) -> None:
    """All at once, and no secret is repeated."""
    with pytest.raises(InvalidArgumentError) as caught:
        await _raised(admin.call(method, **fields))
    assert set(caught.value.field_violations) == wrong
    assert "secret" not in str(caught.value)


async def _raised(call: Any) -> None:
    """Await a call, and raise the error of the clients that its failure is."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        failure: ClientError = from_rpc_error(error)
        raise failure from error
