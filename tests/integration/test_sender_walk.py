"""The walk: every call of the sender, with every kind of credentials.

The expected answers are made from the contract and the table of scopes, so that a new call is
in the walk, or fails it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from closeout.aio.channel import open_channel
from closeout.errors import from_rpc_error
from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub
from integration.databases import SqliteDatabase
from integration.key_support import Metadata, credentials, make_key, other_secret
from integration.keyed_pair import ALPHA, BETA, KeyedPair
from sender_service.api.scopes import SCOPES
from service_runtime.caller import ALL_SCOPES, Scope

_SERVICE = sender_pb2.DESCRIPTOR.services_by_name["SenderService"]
_METHODS = [method.name for method in _SERVICE.methods]
#: A call was let in: what it asked for makes no sense, or is not there.
_LET_IN = "let in"


@dataclass(frozen=True)
class World:
    """A sender, and what can be shown to it."""

    stub: Any
    kinds: dict[str, tuple[Metadata, frozenset[Scope] | str]]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Both services, and a key of each kind with what it leads to."""
    folder: Path = tmp_path_factory.mktemp("walk")
    both = KeyedPair(folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(both.close)
        await both.start()
        database = SqliteDatabase(folder / "status.db")
        whole = make_key(database, organisation=ALPHA)
        plain = make_key(database, organisation=ALPHA, scopes=ALL_SCOPES)
        expired = make_key(database, organisation=ALPHA, expires_in=timedelta(seconds=-1))
        revoked = make_key(database, organisation=ALPHA, revoked=True)
        kinds: dict[str, tuple[Metadata, frozenset[Scope] | str]] = {
            "no key": ((), "KEY_MISSING"),
            "another kind": ((("authorization", "Basic YTpi"),), "KEY_MALFORMED"),
            "malformed": (credentials("closeout_x"), "KEY_MALFORMED"),
            "wrong": (credentials(other_secret(whole)), "KEY_INVALID"),
            "expired": (credentials(expired), "KEY_EXPIRED"),
            "revoked": (credentials(revoked), "KEY_REVOKED"),
            "all scopes": (credentials(plain), ALL_SCOPES),
            "service key, no organisation named": (credentials(whole), frozenset(Scope)),
            "service key, organisation named": (credentials(whole, BETA), frozenset(Scope)),
            "plain key, organisation named": (credentials(plain, BETA), "SCOPE_MISSING"),
            "plain key, its own named": (credentials(plain, ALPHA), "SCOPE_MISSING"),
        }
        for scope in Scope:
            key = make_key(database, organisation=ALPHA, scopes=(scope,))
            kinds[f"scope {scope} alone"] = (credentials(key), frozenset({scope}))
        channel = await stack.enter_async_context(open_channel(both.sender_address))
        yield World(SenderServiceStub(channel), kinds)


def test_every_call_has_a_scope() -> None:
    """The table has the calls of the contract, and no other."""
    assert set(SCOPES) == {f"/{_SERVICE.full_name}/{name}" for name in _METHODS}


@pytest.mark.parametrize("method", _METHODS)
async def test_s13_each_call_lets_in_whom_its_scope_lets_in(world: World, method: str) -> None:
    """The others get the reason of their kind; a plain key never acts for an organisation."""
    answers = {}
    expected = {}
    for kind, (metadata, leads_to) in world.kinds.items():
        answers[kind] = await answer(world.stub, method, metadata)
        if isinstance(leads_to, str):
            expected[kind] = leads_to
        else:
            needed = SCOPES[f"/{_SERVICE.full_name}/{method}"]
            expected[kind] = _LET_IN if needed in leads_to else "SCOPE_MISSING"
    assert answers == expected


async def answer(stub: Any, method: str, metadata: Metadata) -> str:
    """Make a call that asks for nothing; return the reason why its caller is refused."""
    descriptor = _SERVICE.methods_by_name[method]
    request = getattr(sender_pb2, descriptor.input_type.name)()
    try:
        await getattr(stub, method)(
            iter([request]) if descriptor.client_streaming else request, metadata=metadata
        )
    except grpc.aio.AioRpcError as error:
        refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        if error.code() in refused:
            return from_rpc_error(error).reason
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            return f"{error.code()}: {error.details()}"
    return _LET_IN
