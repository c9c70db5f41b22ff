"""The walk: every rpc with every kind of key; the expected answers come from the contract.

A new rpc is in it, since the methods come from the descriptors; without a line in SCOPES and
a way to ask it, the walk fails.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory

from closeout.aio.channel import open_channel
from closeout.errors import from_rpc_error
from closeout.status.v1 import access_pb2, events_pb2, status_pb2
from integration.databases import Database
from integration.key_support import (
    EVERY_SCOPE,
    Metadata,
    credentials,
    delegated,
    make_key,
    other_secret,
)
from integration.status_support import Status, eventually, results, serving
from service_runtime.access import BY_REQUEST, OPEN
from service_runtime.caller import Scope
from service_runtime.reflection import methods_of
from status_service.access.key_access import AccessLimits
from status_service.access.keys import generate
from status_service.access.scopes import SCOPES, repair_scope
from status_service.server import SERVICES

#: What is read of a key is kept a moment, and no attempt is one too many.
_LIMITS = AccessLimits(kept_seconds=0.2, recheck_seconds=0.1, attempts_per_second=1_000_000)
_STATUS = "/closeout.status.v1.StatusService/"
_ACCESS = "/closeout.status.v1.AccessService/"
_EVENTS = "/closeout.status.v1.EventService/"
METHODS = methods_of(SERVICES)
_FORGOTTEN = b"Internal error from Core"
_NOT_FOUND = {"CAMPAIGN_NOT_FOUND", "KEY_NOT_FOUND", "SUBSCRIPTION_NOT_FOUND", ""}

#: What each kind of caller without a right key is answered.
_REFUSED = {
    "no key": "KEY_MISSING",
    "malformed": "KEY_MALFORMED",
    "another scheme": "KEY_MALFORMED",
    "of a page": "KEY_MALFORMED",
    "wrong secret": "KEY_INVALID",
    "unknown id": "KEY_INVALID",
    "expired": "KEY_EXPIRED",
    "expired, wrong secret": "KEY_INVALID",
    "revoked": "KEY_REVOKED",
    "revoked, wrong secret": "KEY_INVALID",
}


@dataclass
class Walk:
    """A service with two organisations that use the same campaign ids, and its keys."""

    status: Status
    channel: grpc.aio.Channel
    callers: dict[str, Metadata]
    scoped: Mapping[Scope, Metadata]
    full: Metadata
    rival: Metadata
    stranger: Metadata
    service: Metadata
    key_ids: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, request: Any, metadata: Metadata) -> tuple[str, bytes]:
        """Return the reason of a refusal, and all that was answered, byte for byte."""
        return await ask(self.channel, method, request, metadata)


async def ask(
    channel: grpc.aio.Channel, method: str, request: Any, metadata: Metadata
) -> tuple[str, bytes]:
    """Call a method; of a stream read what comes first.

    grpcio's asyncio client forgets the status of a stream that ends while it writes (grpc/grpc
    issue 36066); such a call was refused, and is made again to learn why.
    """
    while True:
        reason, answer = await _ask_once(channel, method, request, metadata)
        if _FORGOTTEN not in answer:
            return reason, answer


async def _ask_once(
    channel: grpc.aio.Channel, method: str, request: Any, metadata: Metadata
) -> tuple[str, bytes]:
    rpc = descriptor_pool.Default().FindMethodByName(method[1:].replace("/", "."))
    name = f"{'stream' if rpc.client_streaming else 'unary'}_" + (
        "stream" if rpc.server_streaming else "unary"
    )
    call = getattr(channel, name)(
        method,
        request_serializer=lambda message: message.SerializeToString(deterministic=True),
        response_deserializer=lambda data: data,
    )
    sent: Any = _once(request) if rpc.client_streaming else request
    try:
        if not rpc.server_streaming:
            return "", await call(sent, metadata=metadata)
        running = call(sent, metadata=metadata)
        answer = await running.read()
        running.cancel()
    except grpc.aio.AioRpcError as error:
        trailers = sorted(
            (key, value if isinstance(value, bytes) else value.encode())
            for key, value in error.trailing_metadata() or ()
        )
        return from_rpc_error(error).reason, repr(
            (error.code(), error.details(), trailers)
        ).encode()
    return "", bytes(answer)


async def _once(request: Any) -> AsyncIterator[Any]:
    yield request


def requests_of(method: str, campaign_id: str, key_id: str = "abcdefghijkl") -> list[Any]:
    """Return the requests that the walk makes of a method, which change as little as they can."""
    rpc = descriptor_pool.Default().FindMethodByName(method[1:].replace("/", "."))
    kind = message_factory.GetMessageClass(rpc.input_type)
    changing: dict[str, Mapping[str, Any]] = {
        "CreateCampaign": {"campaign_id": campaign_id},
        "MarkComplete": {"campaign_id": campaign_id, "dry_run": True},
        "DeleteCampaign": {"campaign_id": campaign_id, "dry_run": True},
        "EraseAddress": {"address": "ann@example.com", "dry_run": True},
        "BatchReportResults": {
            "campaigns": [status_pb2.CampaignResults(campaign_id=campaign_id, results=results([1]))]
        },
        "ReportResults": {"frame": 1, "campaign_id": campaign_id, "results": results([1])},
        "StartCampaign": {"campaign_id": campaign_id, "total": 2},
        "CreateSubscription": {"url": "https://example.com/"},
        "CreateKey": {"name": "made-by-the-walk", "scopes": ["read"]},
    }
    if rpc.name == "RepairCampaigns":
        return [kind(campaign_id=campaign_id, dry_run=dry_run) for dry_run in (False, True)]
    if rpc.name in changing:
        return [kind(**changing[rpc.name])]
    fields = {"campaign_id": campaign_id, "key_id": key_id, "subscription_id": key_id}
    asked = kind(
        **{name: text for name, text in fields.items() if name in kind.DESCRIPTOR.fields_by_name}
    )
    return [asked]


def scope_of(method: str, request: Any) -> Scope | None:
    """Return the scope that a request needs by the table; None: any key will do."""
    needed = SCOPES[method]
    if needed == OPEN:
        return None
    if needed == BY_REQUEST:
        return repair_scope(dry_run=request.dry_run)
    return Scope(needed)


@pytest.fixture
async def walk(database: Database) -> AsyncIterator[Walk]:
    """Return a service with everything that the walk needs."""
    async with (
        serving(database, limits=_LIMITS) as status,
        open_channel(status.address) as channel,
    ):
        plain = set(EVERY_SCOPE) - {Scope.SERVICE}
        right = make_key(database, organisation="acme", name="full", scopes=plain)
        expired = make_key(database, organisation="acme", expires_in=timedelta(seconds=-1))
        revoked = make_key(database, organisation="acme", revoked=True)
        service = make_key(database, organisation="operator", name="sender", scopes=EVERY_SCOPE)
        rival = make_key(database, organisation="rival", name="full", scopes=plain)
        stranger = make_key(database, organisation="nobody", name="full", scopes=plain)
        made = Walk(
            status,
            channel,
            {
                "no key": (),
                "malformed": credentials(right.text[:-1]),
                "another scheme": (("authorization", f"Basic {right.text}"),),
                "of a page": credentials(delegated(database, right)),
                "wrong secret": credentials(other_secret(right)),
                "unknown id": credentials(generate()),
                "expired": credentials(expired),
                "expired, wrong secret": credentials(other_secret(expired)),
                "revoked": credentials(revoked),
                "revoked, wrong secret": credentials(other_secret(revoked)),
            },
            {
                scope: credentials(
                    make_key(database, organisation="acme", name=scope, scopes=[scope])
                )
                for scope in EVERY_SCOPE
            },
            credentials(right),
            credentials(rival),
            credentials(stranger),
            credentials(service),
            {"acme": right.key_id, "rival": rival.key_id},
        )
        await _closed(made)
        for metadata, name in itertools.product((made.full, made.rival), ("open", "other")):
            for method, request in (
                ("CreateCampaign", status_pb2.CreateCampaignRequest(campaign_id=name)),
                ("StartCampaign", status_pb2.StartCampaignRequest(campaign_id=name, total=2)),
            ):
                assert (await made.ask(f"{_STATUS}{method}", request, metadata))[0] == ""
        yield made


async def _closed(walk: Walk) -> None:
    """Wait until the service knows that there are keys."""

    async def refused() -> bool:
        reason, _ = await walk.ask(f"{_ACCESS}GetCaller", access_pb2.GetCallerRequest(), ())
        return reason == "KEY_MISSING"

    await eventually(refused, what="nobody is served without a key")


def test_the_walk_has_every_method_of_every_service() -> None:
    """The table of scopes and the contract have the same methods, none of them twice."""
    assert sorted(METHODS) == sorted(SCOPES)
    assert {method for method in METHODS if SCOPES[method] == OPEN} == {f"{_ACCESS}GetCaller"}


async def test_no_call_is_answered_without_a_right_key(walk: Walk) -> None:
    """Whatever is asked; also of GetCaller, which checks by itself."""
    for method in METHODS:
        for request in requests_of(method, "open"):
            for name, metadata in walk.callers.items():
                reason, _ = await walk.ask(method, request, metadata)
                assert reason == _REFUSED[name], (method, name)


async def test_each_scope_alone_allows_what_the_table_says_and_nothing_else(walk: Walk) -> None:
    """A key with another scope is refused with the name of the one that it lacks."""
    for method, (scope, metadata) in itertools.product(METHODS, walk.scoped.items()):
        for request in requests_of(method, "open"):
            needed = scope_of(method, request)
            reason, answer = await walk.ask(method, request, metadata)
            if needed in {None, scope}:
                assert reason != "SCOPE_MISSING", (method, scope)
            else:
                assert reason == "SCOPE_MISSING", (method, scope)
                assert f"`{needed}`".encode() in answer, (method, scope)


async def test_only_a_service_acts_for_another_organisation(walk: Walk) -> None:
    """A plain key that names one is refused, its own included; a service needs the scope too."""
    plain = [(*walk.full, ("closeout-organization", name)) for name in ("acme", "rival")]
    acting = (*walk.service, ("closeout-organization", "acme"))
    alone = (*walk.scoped[Scope.SERVICE], ("closeout-organization", "acme"))
    for method in METHODS:
        for request in requests_of(method, "open"):
            for metadata in plain:
                reason, answer = await walk.ask(method, request, metadata)
                assert reason == "SCOPE_MISSING", method
                assert b"`service`" in answer, method
            needed = scope_of(method, request)
            reason, _ = await walk.ask(method, request, alone)
            assert (reason == "SCOPE_MISSING") == (needed is not None), method
    read = f"{_STATUS}GetCampaign"
    found = status_pb2.GetCampaignRequest(campaign_id="open")
    assert await walk.ask(read, found, acting) == await walk.ask(read, found, walk.full)
    # Without the metadata it acts for its own organisation, which has no campaign.
    assert (await walk.ask(read, found, walk.service))[0] == "CAMPAIGN_NOT_FOUND"


async def test_s13_absent_and_foreign_are_the_same_bytes(walk: Walk) -> None:
    """To an organisation without campaigns, of ids that others use and of ids nobody uses."""
    for method in METHODS:
        absent = requests_of(method, "none", "abcdefghijkl")
        foreign = requests_of(method, "open", walk.key_ids["acme"])
        if absent == foreign or method.endswith("/CreateCampaign"):
            continue  # it names nothing that could be another's, or takes a free id
        for first, second in zip(absent, foreign, strict=True):
            one = await walk.ask(method, first, walk.stranger)
            other = await walk.ask(method, second, walk.stranger)
            expected = (other[0], _renamed(other[1], walk.key_ids["acme"]))
            assert (one[0], _renamed(one[1], walk.key_ids["acme"])) == expected, method
            assert one[0] in _NOT_FOUND, method


async def test_s13_events_and_subscriptions_of_others_are_as_absent(walk: Walk) -> None:
    """Listed, replayed and ended by id: byte for byte; and none is ever in a list."""
    make = events_pb2.CreateSubscriptionRequest(url="https://example.com/acme")
    _, answer = await walk.ask(f"{_EVENTS}CreateSubscription", make, walk.full)
    theirs = events_pb2.CreateSubscriptionResponse.FromString(answer).subscription.subscription_id
    _, answer = await walk.ask(f"{_EVENTS}CreateSubscription", make, walk.stranger)
    mine = events_pb2.CreateSubscriptionResponse.FromString(answer).subscription.subscription_id
    _, answer = await walk.ask(f"{_EVENTS}ListEvents", events_pb2.ListEventsRequest(), walk.full)
    event_id = events_pb2.ListEventsResponse.FromString(answer).events[0].event_id
    absent = "0" * len(theirs)
    requests = [
        ("ListEvents", events_pb2.ListEventsRequest(subscription_id=theirs)),
        (
            "ListEvents",
            events_pb2.ListEventsRequest(subscription_id=theirs, state=events_pb2.Delivery.DEAD),
        ),
        ("ReplayEvents", events_pb2.ReplayEventsRequest(subscription_id=theirs)),
        (
            "ReplayEvents",
            events_pb2.ReplayEventsRequest(subscription_id=theirs, event_ids=[event_id]),
        ),
        (
            "ReplayEvents",
            events_pb2.ReplayEventsRequest(subscription_id=mine, event_ids=[event_id]),
        ),
        ("DeleteSubscription", events_pb2.DeleteSubscriptionRequest(subscription_id=theirs)),
    ]
    for name, request in requests:
        other = type(request)()
        other.CopyFrom(request)
        if request.subscription_id == theirs:
            other.subscription_id = absent
        if getattr(request, "event_ids", None):
            other.event_ids[:] = [absent]  # type: ignore[union-attr] # it has them
        foreign = await walk.ask(f"{_EVENTS}{name}", request, walk.stranger)
        missing = await walk.ask(f"{_EVENTS}{name}", other, walk.stranger)
        assert foreign[0] in {"SUBSCRIPTION_NOT_FOUND", "EVENT_NOT_FOUND"}, name
        shown = foreign[1].replace(theirs.encode(), absent.encode())
        assert shown.replace(event_id.encode(), absent.encode()) == missing[1], name
    for metadata, seen in ((walk.full, theirs), (walk.stranger, mine)):
        request = events_pb2.ListSubscriptionsRequest()
        _, answer = await walk.ask(f"{_EVENTS}ListSubscriptions", request, metadata)
        found = events_pb2.ListSubscriptionsResponse.FromString(answer).subscriptions
        assert [one.subscription_id for one in found] == [seen]
    _, answer = await walk.ask(
        f"{_EVENTS}ListEvents", events_pb2.ListEventsRequest(), walk.stranger
    )
    assert not events_pb2.ListEventsResponse.FromString(answer).events


def _renamed(answer: bytes, key_id: str) -> bytes:
    """Return an answer without the ids that the requests named."""
    for name in (b"none", b"open", key_id.encode(), b"abcdefghijkl"):
        answer = answer.replace(name, b"?")
    return answer


async def test_s13_what_one_organisation_does_the_other_never_sees(walk: Walk) -> None:
    """Both use one campaign id: states, results and lists stay apart."""
    report = f"{_STATUS}BatchReportResults"
    for request in requests_of(report, "open"):
        assert (await walk.ask(report, request, walk.full))[0] == ""
    pause = status_pb2.PauseCampaignRequest(campaign_id="open", reason="ours")
    assert (await walk.ask(f"{_STATUS}PauseCampaign", pause, walk.full))[0] == ""
    for metadata, sent, state in (
        (walk.full, 1, status_pb2.Campaign.PAUSED),
        (walk.rival, 0, status_pb2.Campaign.SENDING),
    ):
        _, answer = await walk.ask(
            f"{_STATUS}GetCampaign", status_pb2.GetCampaignRequest(campaign_id="open"), metadata
        )
        campaign = status_pb2.GetCampaignResponse.FromString(answer).campaign
        assert (campaign.sent, campaign.state) == (sent, state)
        _, answer = await walk.ask(
            f"{_STATUS}ListTransitions",
            status_pb2.ListTransitionsRequest(campaign_id="open"),
            metadata,
        )
        assert (b"ours" in answer) == bool(sent)


async def test_a_page_token_of_one_organisation_is_none_of_another(walk: Walk) -> None:
    """Of campaigns, results, transitions, events and keys."""
    report = status_pb2.BatchReportResultsRequest(
        campaigns=[status_pb2.CampaignResults(campaign_id="open", results=results([1, 2]))]
    )
    for metadata in (walk.full, walk.rival):
        await walk.ask(f"{_STATUS}BatchReportResults", report, metadata)
    for method, request, response in (
        (
            f"{_STATUS}ListCampaigns",
            status_pb2.ListCampaignsRequest(page_size=1),
            status_pb2.ListCampaignsResponse,
        ),
        (
            f"{_STATUS}ListResults",
            status_pb2.ListResultsRequest(campaign_id="open", page_size=1),
            status_pb2.ListResultsResponse,
        ),
        (
            f"{_STATUS}ListTransitions",
            status_pb2.ListTransitionsRequest(campaign_id="open", page_size=1),
            status_pb2.ListTransitionsResponse,
        ),
        (
            f"{_EVENTS}ListEvents",
            events_pb2.ListEventsRequest(page_size=1),
            events_pb2.ListEventsResponse,
        ),
        (
            f"{_ACCESS}ListKeys",
            access_pb2.ListKeysRequest(page_size=1),
            access_pb2.ListKeysResponse,
        ),
    ):
        _, answer = await walk.ask(method, request, walk.full)
        token = response.FromString(answer).next_page_token
        assert token, method
        request.page_token = token
        assert (await walk.ask(method, request, walk.full))[0] == "", method
        assert (await walk.ask(method, request, walk.rival))[0] == "INVALID_REQUEST", method
