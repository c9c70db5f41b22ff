"""Keys at the status service: who is served, from the first key to the end of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from closeout.aio import StatusClient
from closeout.aio.channel import open_channel
from closeout.errors import ClientError, from_rpc_error
from closeout.status.v1 import access_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout.status.v1.access_pb2_grpc import AccessServiceStub
from integration.databases import PATIENCE_SECONDS, Database, PostgresqlDatabase
from integration.key_support import Metadata, credentials, make_key, other_secret
from integration.status_support import Status, eventually, reporting, serving
from integration.status_support import results as pb_results
from service_runtime.caller import ALL_SCOPES, Scope
from service_runtime.errors import StartupError
from status_service.access import found_keys
from status_service.access.key_access import AccessLimits
from status_service.access.keys import generate

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
    of_another = credentials(generate())
    for metadata in ((), credentials("whatever"), of_another, credentials("x", "default")):
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


async def test_who_has_the_first_key_is_served_by_it_at_once(database: Database) -> None:
    """Also where the service remembers that there is none, and then it does no longer."""
    async with serving(database) as service, open_channel(service.address) as channel:
        await _list(service)
        key = make_key(database, organisation="acme")
        caller = await AccessServiceStub(channel).GetCaller(
            pb.GetCallerRequest(), metadata=credentials(key)
        )
        assert (caller.organization, caller.key_id) == ("acme", key.key_id)
        assert await reason_of(_list(service)) == "KEY_MISSING"


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


async def test_a_stream_ends_when_its_key_is_revoked(keyed: Status) -> None:
    """Of results and of watching, with the reason; the database alone has to know."""
    key = make_key(keyed.database, scopes=[Scope.READ, Scope.WRITE, Scope.REPORT])
    mine = credentials(key)
    await keyed.stub.CreateCampaign(
        status_pb2.CreateCampaignRequest(campaign_id="one"), metadata=mine
    )
    watching = keyed.stub.WatchCampaign(
        status_pb2.WatchCampaignRequest(campaign_id="one"), metadata=mine
    )
    assert (await watching.read()).campaign.campaign_id == "one"
    reporting = keyed.stub.ReportResults(metadata=mine)
    await reporting.write(status_pb2.ReportResultsRequest(frame=1, campaign_id="one"))
    assert (await reporting.read()).acked_through == 1
    keyed.execute("UPDATE keys SET revoke_time = 1 WHERE key_id = ?", key.key_id)
    for stream in (watching, reporting):
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reason_of(_read_on(stream)) == "KEY_REVOKED"


async def _read_on(stream: Any) -> None:
    while await stream.read() != grpc.aio.EOF:
        pass
    assert await stream.code() != grpc.StatusCode.OK
    raise AssertionError(await stream.details())


async def test_a_stream_from_before_the_first_key_ends_with_it(keyed: Status, access: Any) -> None:
    """Who is nobody any more sees nothing more."""
    await keyed.client.create_campaign(campaign_id="one")
    watching = keyed.stub.WatchCampaign(status_pb2.WatchCampaignRequest(campaign_id="one"))
    await watching.read()
    await access.CreateKey(pb.CreateKeyRequest(name="ops", scopes=["admin"]))
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await reason_of(_read_on(watching)) == "KEY_MISSING"


async def test_the_last_use_is_written_once_a_minute(keyed: Status) -> None:
    """Beside the calls, whose answers do not wait for it."""
    key = make_key(keyed.database)

    def last_use() -> int | None:
        (row,) = keyed.execute("SELECT last_use_time FROM keys WHERE key_id = ?", key.key_id)
        return None if row["last_use_time"] is None else int(row["last_use_time"])

    async def written() -> bool:
        await _list(keyed, credentials(key))
        return last_use() is not None

    await eventually(written, what="the last use is written")
    first = last_use()
    other = make_key(keyed.database)
    keyed.execute("UPDATE keys SET last_use_time = 1 WHERE key_id = ?", other.key_id)
    await _list(keyed, credentials(other))

    async def of_the_other() -> bool:
        await _list(keyed, credentials(key))
        (row,) = keyed.execute("SELECT last_use_time FROM keys WHERE key_id = ?", other.key_id)
        return int(row["last_use_time"]) > 1

    await eventually(of_the_other, what="an old use is written again")
    assert last_use() == first


async def test_refused_keys_are_limited_and_right_ones_go_on(database: Database) -> None:
    """More than the limit is RESOURCE_EXHAUSTED with RetryInfo, for who was never right here."""
    async with serving(database, limits=AccessLimits(kept_seconds=0.0)) as service:
        right, unseen = make_key(database), make_key(database)
        await _list(service, credentials(right))
        wrong = credentials(other_secret(right))
        reasons = await asyncio.gather(*(reason_of(_list(service, wrong)) for _ in range(60)))
        assert set(reasons) == {"KEY_INVALID", "TOO_MANY_ATTEMPTS"}
        errors = await asyncio.gather(*(refusal(_list(service, wrong)) for _ in range(60)))
        (error, *_) = [error for error in errors if error.reason == "TOO_MANY_ATTEMPTS"]
        assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.retry_after_seconds == 1.0
        await _list(service, credentials(right))

        async def served() -> bool:
            try:
                await _list(service, credentials(unseen))
            except grpc.aio.AioRpcError:
                return False
            return True

        await eventually(served, what="a right key is served when the attempts are over")


@contextmanager
def unreadable_keys(database: Database) -> Iterator[None]:
    """Let nobody read the table of keys for the length of a block."""
    if isinstance(database, PostgresqlDatabase):
        with database.by_hand() as connection:
            connection.execute("LOCK TABLE keys IN ACCESS EXCLUSIVE MODE")
            yield
        return
    with database.by_hand() as connection:
        connection.execute("ALTER TABLE keys RENAME TO hidden")
    yield
    with database.by_hand() as connection:
        connection.execute("ALTER TABLE hidden RENAME TO keys")


async def test_nobody_is_known_while_the_database_does_not_answer(
    keyed: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNAVAILABLE, before the first key and after it; never allowed."""
    key = make_key(keyed.database)
    await _list(keyed, credentials(key))
    with unreadable_keys(keyed.database), monkeypatch.context() as hurried:
        hurried.setattr(found_keys, "READ_SECONDS", 0.5)
        for metadata in (credentials(key), credentials(other_secret(key))):
            error = await refusal(_list(keyed, metadata))
            assert error.code == grpc.StatusCode.UNAVAILABLE

    async def served() -> bool:
        try:
            await _list(keyed, credentials(key))
        except grpc.aio.AioRpcError:
            return False
        return True

    await eventually(served, what="the key is known again")


async def test_a_service_that_others_reach_does_not_start_without_keys(
    database: Database,
) -> None:
    """Nor with keys and without TLS; each refusal names the setting that allows it."""
    outside = {"listen": "0.0.0.0:0"}
    with pytest.raises(StartupError, match="allow_without_keys = true"):
        async with serving(database, **outside):
            pass
    with pytest.raises(StartupError, match="allow_without_keys = true"):
        async with serving(database, http_listen="0.0.0.0:0"):
            pass
    async with serving(database, **outside, allow_without_keys=True):
        make_key(database)
    with pytest.raises(StartupError, match="allow_plaintext = true"):
        async with serving(database, **outside, allow_without_keys=True):
            pass
    with capture_logs() as logs:
        async with serving(database, **outside, allow_plaintext=True):
            pass
    assert [line["log_level"] for line in logs if line["event"] == "reachable_from_elsewhere"] == [
        "warning"
    ]


async def test_a_reporter_is_named_by_its_key_whatever_it_calls_itself(keyed: Status) -> None:
    """In the audit trail, beside what it says of itself; in who reported last, by its words."""
    key = make_key(keyed.database, name="shop")
    for way in ("stream", "batch"):
        sent = pb_results([1])
        async with StatusClient(keyed.address, api_key=key.text) as client:
            await client.create_campaign(campaign_id=way)
            await client.start_campaign(campaign_id=way, total=1)
            if way == "batch":
                campaigns = [status_pb2.CampaignResults(campaign_id=way, results=sent)]
                await keyed.stub.BatchReportResults(
                    status_pb2.BatchReportResultsRequest(campaigns=campaigns, reporter="key:boss"),
                    metadata=credentials(key),
                )
            else:
                async with reporting(client) as stream:
                    await stream.send(way, *sent, reporter="key:boss")
                    await stream.acked(1)
            trail = [one async for one in client.list_transitions(campaign_id=way)]
            assert (trail[-1].actor, trail[-1].on_behalf_of) == ("key:shop", "key:boss")
            explained = await client.explain_campaign(campaign_id=way)
            assert explained.diagnosis.last_reporter == "key:boss"
