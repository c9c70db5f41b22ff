"""Keys at the status service: who is served, from the first key to the end of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from closeout.aio.channel import open_channel
from closeout.errors import ClientError, from_rpc_error
from closeout.status.v1 import access_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout.status.v1.access_pb2_grpc import AccessServiceStub
from integration.databases import Database
from integration.key_support import Metadata, credentials, make_key, other_secret
from integration.status_support import Status, eventually, serving
from service_runtime.caller import ALL_SCOPES, Scope
from status_service.access.key_access import AccessLimits

#: Nothing is remembered, streams ask often, and no attempt is one too many.
_QUICK = AccessLimits(kept_seconds=0.0, recheck_seconds=0.1, attempts_per_second=1_000_000)


@pytest.fixture
async def keyed(database: Database) -> AsyncIterator[Status]:
    """A service that remembers nothing, still without a key."""
    async with serving(database, limits=_QUICK) as service:
        yield service


@pytest.fixture
async def access(keyed: Status) -> AsyncIterator[Any]:
    """The calls about keys of that service."""
    async with open_channel(keyed.address) as channel:
        yield AccessServiceStub(channel)


async def refusal(call: Any) -> ClientError:
    """Return what a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def reason_of(call: Any) -> str:
    """Return the reason that a call is refused with."""
    return (await refusal(call)).reason


def _list(status: Status, metadata: Metadata = ()) -> Any:
    return status.stub.ListCampaigns(status_pb2.ListCampaignsRequest(), metadata=metadata)


async def test_before_the_first_key_everybody_is_default_with_all_scopes(
    keyed: Status, access: Any
) -> None:
    """The demo needs no setup, and a key of another service does no harm."""
    for metadata in ((), credentials("closeout_whatever"), credentials("x", "default")):
        caller = await access.GetCaller(pb.GetCallerRequest(), metadata=metadata)
        assert caller.organization == "default"
        assert caller.scopes == sorted(ALL_SCOPES)
        assert not caller.key_id
        assert caller.actor.startswith("ipv4:127.0.0.1:")
    assert await reason_of(_list(keyed, credentials("x", "rival"))) == "SCOPE_MISSING"


async def test_the_first_key_closes_the_door_for_good(keyed: Status, access: Any) -> None:
    """Nobody is served without a key then, also when all keys are revoked."""
    made = await access.CreateKey(pb.CreateKeyRequest(name="ops", scopes=["admin", "read"]))
    assert await reason_of(_list(keyed)) == "KEY_MISSING"
    mine = credentials(made.secret_key)
    await _list(keyed, mine)
    await access.RevokeKey(pb.RevokeKeyRequest(key_id=made.key.key_id), metadata=mine)
    assert await reason_of(_list(keyed, mine)) == "KEY_REVOKED"
    assert await reason_of(_list(keyed)) == "KEY_MISSING"


async def test_a_key_that_another_instance_made_closes_the_door_too(
    database: Database,
) -> None:
    """Within the time that an instance remembers that there is none."""
    async with serving(database, limits=AccessLimits(kept_seconds=0.2)) as service:
        await _list(service)
        make_key(database)

        async def closed() -> bool:
            try:
                await _list(service)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason == "KEY_MISSING"
            return False

        await eventually(closed, what="nobody is served without a key")


async def test_a_caller_is_its_key(keyed: Status, access: Any) -> None:
    """Organisation, scopes and actor come from the key; the audit trail names it."""
    key = make_key(
        keyed.database, organisation="acme", name="ops", scopes=[Scope.READ, Scope.WRITE]
    )
    caller = await access.GetCaller(pb.GetCallerRequest(), metadata=credentials(key))
    assert caller == pb.GetCallerResponse(
        organization="acme",
        actor="key:ops",
        scopes=["read", "write"],
        key_id=key.key_id,
        key_name="ops",
    )
    mine = (*credentials(key), ("closeout-on-behalf-of", "ann@desk"))
    await keyed.stub.CreateCampaign(
        status_pb2.CreateCampaignRequest(campaign_id="one"), metadata=mine
    )
    trail = await keyed.stub.ListTransitions(
        status_pb2.ListTransitionsRequest(campaign_id="one"), metadata=mine
    )
    assert [(step.actor, step.on_behalf_of) for step in trail.transitions] == [
        ("key:ops", "ann@desk")
    ]


async def test_a_service_acts_for_the_organisation_it_names(keyed: Status, access: Any) -> None:
    """And without one for its own; a plain key may name none, not even its own."""
    service = make_key(
        keyed.database, organisation="operator", name="sender", scopes=[Scope.READ, Scope.SERVICE]
    )
    plain = make_key(keyed.database, organisation="acme", scopes=ALL_SCOPES)
    asked = pb.GetCallerRequest()
    acting = await access.GetCaller(asked, metadata=credentials(service, "acme"))
    assert (acting.organization, acting.actor) == ("acme", "key:sender")
    alone = await access.GetCaller(asked, metadata=credentials(service))
    assert alone.organization == "operator"
    for named in ("rival", "acme"):
        error = await refusal(access.GetCaller(asked, metadata=credentials(plain, named)))
        assert error.code == grpc.StatusCode.PERMISSION_DENIED
        assert (error.reason, error.metadata) == ("SCOPE_MISSING", {"scope": "service"})
    wrong = await refusal(access.GetCaller(asked, metadata=credentials(service, "no name")))
    assert wrong.reason == "INVALID_REQUEST"


async def test_a_service_asks_who_its_caller_is(keyed: Status, access: Any) -> None:
    """GetCaller with the credentials of another call; only a service may ask so."""
    service = credentials(make_key(keyed.database, name="sender", scopes=[Scope.SERVICE]))
    plain = make_key(keyed.database, organisation="acme", name="ops", scopes=[Scope.READ])
    asked = pb.GetCallerRequest(
        authorization=f"Bearer {plain.text}", for_peer="ipv4:192.0.2.7:1000"
    )
    caller = await access.GetCaller(asked, metadata=service)
    assert (caller.organization, caller.actor) == ("acme", "key:ops")
    nobody = pb.GetCallerRequest(for_peer="ipv4:192.0.2.7:1000")
    assert await reason_of(access.GetCaller(nobody, metadata=service)) == "KEY_MISSING"
    named = pb.GetCallerRequest(
        authorization=asked.authorization, for_peer=asked.for_peer, organization="rival"
    )
    assert await reason_of(access.GetCaller(named, metadata=service)) == "SCOPE_MISSING"
    error = await refusal(access.GetCaller(asked, metadata=credentials(plain)))
    assert (error.reason, error.metadata) == ("SCOPE_MISSING", {"scope": "service"})
    no_peer = pb.GetCallerRequest(authorization=asked.authorization)
    assert await reason_of(access.GetCaller(no_peer, metadata=service)) == "INVALID_REQUEST"


async def test_before_the_first_key_a_service_may_ask_without_one(access: Any) -> None:
    """Its callers are ``default``, as its own would be."""
    caller = await access.GetCaller(pb.GetCallerRequest(for_peer="ipv4:192.0.2.7:1000"))
    assert (caller.organization, caller.actor) == ("default", "ipv4:192.0.2.7:1000")


async def test_only_who_has_the_secret_learns_that_a_key_ended(keyed: Status) -> None:
    """Expired and revoked are said to the owner; to others the key does not exist."""
    make_key(keyed.database)
    ended = {
        "KEY_EXPIRED": make_key(keyed.database, expires_in=timedelta(seconds=-1)),
        "KEY_REVOKED": make_key(keyed.database, revoked=True),
    }
    for reason, key in ended.items():
        assert await reason_of(_list(keyed, credentials(key))) == reason
        assert await reason_of(_list(keyed, credentials(other_secret(key)))) == "KEY_INVALID"
