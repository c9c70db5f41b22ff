"""Every rpc with messages that are made up: B2, S1, S4, S6, S10, and each error has a reason.

The rpcs come from the descriptors, so that a new one is called as well. `make soak` makes up
many more.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from closeout.aio.channel import open_channel
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import access_pb2, events_pb2
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1.access_pb2_grpc import AccessServiceStub
from closeout.status.v1.events_pb2_grpc import EventServiceStub
from integration.fuzzed_calls import Fuzz
from integration.key_support import EVERY_SCOPE, Metadata, credentials, make_key
from integration.sender_pair import Pair, pair
from integration.status_support import (
    FAILED,
    Status,
    by_hand,
    check_invariants,
    eventually,
    results,
    serving,
)
from integration.wire_messages import Known
from providers.event_receiver import receiving
from service_runtime.reflection import methods_of
from status_service.access.key_access import AccessLimits
from status_service.server import SERVICES

_SENDER_SERVICE = sender_pb2.DESCRIPTOR.services_by_name["SenderService"].full_name
#: What is read of a key is kept a moment, and no attempt is one too many.
_LIMITS = AccessLimits(kept_seconds=0.2, recheck_seconds=0.1, attempts_per_second=1_000_000)
#: The process may have so much more at the end than after the first generation, bytes.
_MOST_GROWTH = 150_000_000
_PAGE_BYTES = 4_096
_YEAR_2100 = 4_102_444_800
#: What most calls need to make sense.
_SENSIBLE: dict[str, Any] = {
    "request_id": [b"6f9619ff-8b86-d011-b42d-00cf4fc964f%d" % number for number in range(3)],
    "page_token": [b""],
    "page_size": (0, 1, 2),
    "revision": (0, 0, 0, 1, 2, 3, 4),
    "total": (4, 4, 4, 0),
    "sequence": (1, 2, 3, 4, 5),
    "sequences": (1, 2, 3, 4, 5),
    "outcome": (1, 2, 3, 4),
    "kind": (1, 2),
    "secret": [b""],
    "key": [b"list", b"name"],
    "name": [b"made-by-a-test"],
    "scopes": [b"read", b"report"],
    "channel": [b"scripted"],
    "upload_id": [b"u", b"v"],
    "address": [b"ann@example.com", b"bob@example.com", b"p1@example.com"],
    "subject": [b"Hello", b"Hello {{ name }}"],
    "kinds": [b"campaign.completed"],
}


@pytest.fixture(autouse=True)
def _no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged as an error, by gRPC neither."""
    with capture_logs() as logs, caplog.at_level(logging.ERROR):
        yield
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == []
    assert [record.getMessage() for record in caplog.records] == []


async def all_is_well(fuzz: Fuzz, services: Sequence[str], *, messages: int, begin: int) -> None:
    """Make the calls; each method succeeds at times, and nothing is ever wrong."""
    had = [memory() async for _ in fuzz.run(messages, begin)]
    assert fuzz.wrong == []
    assert had[-1] - had[0] < _MOST_GROWTH
    assert {method for method, _ in fuzz.answers} == set(methods_of(services))
    succeeded = {method for method, reason in fuzz.answers if not reason}
    assert len(succeeded) > 0.8 * len(methods_of(services)), fuzz.answers


def memory() -> int:
    """Return what this process has in memory, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


async def is_serving(channel: grpc.aio.Channel) -> bool:
    """Return whether a service says that it serves."""
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def prefix_of(number: int) -> str:
    """Return the beginning of the ids of a generation: no slip of it is that of a later one."""
    return f"fuzz-{number:x}-{hashlib.sha256(b'%d' % number).hexdigest()[:12]}-"


class _StatusWorld:
    """Makes campaigns in every state, keys and subscriptions.

    Args:
        status: the service.
        channel: to it.
        metadata: with a key.
        url: of a receiver of events.
    """

    def __init__(
        self, status: Status, channel: grpc.aio.Channel, metadata: Metadata, url: str
    ) -> None:
        self._status = status
        self._events = EventServiceStub(channel)
        self._metadata = metadata
        self._url = url

    async def generation(self, number: int) -> Known:
        """Make a generation."""
        prefix = prefix_of(number)
        names = [prefix + name for name in ("draft", "due", "sent", "some", "held", "end")]
        subscription = await self._subscribed()
        for name in names:
            await self._begin(name)
        listed = await self._events.ListEvents(
            events_pb2.ListEventsRequest(page_size=3), metadata=self._metadata
        )
        keys = [make_key(self._status.database, name=f"spare-{n}") for n in range(3)]
        ids = [name.encode() for name in names]
        return _SENSIBLE | {
            "campaign_id": [*ids, *ids, *(f"{prefix}{new}".encode() for new in ("a", "b", "c"))],
            "key_id": [key.key_id.encode() for key in keys],
            "authorization": [f"Bearer {keys[0].text}".encode()],
            "subscription_id": [subscription.encode()],
            "event_ids": [event.event_id.encode() for event in listed.events],
            "url": [self._url.encode()],
        }

    async def _call(self, method: str, request: Any) -> None:
        await getattr(self._status.stub, method)(request, metadata=self._metadata)

    async def _subscribed(self) -> str:
        """Replace all subscriptions by one; return its id."""
        listed = await self._events.ListSubscriptions(
            events_pb2.ListSubscriptionsRequest(), metadata=self._metadata
        )
        for old in listed.subscriptions:
            gone = events_pb2.DeleteSubscriptionRequest(subscription_id=old.subscription_id)
            await self._events.DeleteSubscription(gone, metadata=self._metadata)
        made = await self._events.CreateSubscription(
            events_pb2.CreateSubscriptionRequest(url=self._url), metadata=self._metadata
        )
        return str(made.subscription.subscription_id)

    async def _begin(self, name: str) -> None:
        """Make a campaign, and lead it where its name says."""
        state = name.rpartition("-")[2]
        await self._call("CreateCampaign", pb.CreateCampaignRequest(campaign_id=name))
        start = pb.StartCampaignRequest(campaign_id=name, total=4)
        if state == "due":
            start.start_time.FromSeconds(_YEAR_2100)
        if state != "draft":
            await self._call("StartCampaign", start)
        if reported := {"sent": (1, 2, 3, 4), "some": (2, 3), "held": (1,)}.get(state):
            rows = results(reported, FAILED, code="550", detail="no x@example.com")
            given = pb.CampaignResults(campaign_id=name, results=rows)
            await self._call("BatchReportResults", pb.BatchReportResultsRequest(campaigns=[given]))
        if state == "held":
            await self._call("PauseCampaign", pb.PauseCampaignRequest(campaign_id=name))
        if state == "end":
            await self._call("CancelCampaign", pb.CancelCampaignRequest(campaign_id=name))


async def test_whatever_is_sent_to_the_status_service_it_answers_with_a_reason(
    tmp_path: Path, rpc_messages: int, rpc_seed: int
) -> None:
    """Nothing is an internal error, nothing is stored twice, and the service serves on."""
    async with (
        receiving() as receiver,
        serving(tmp_path, limits=_LIMITS, webhooks_allow_private=True) as status,
        open_channel(status.address) as channel,
    ):
        metadata = credentials(make_key(status.database, scopes=EVERY_SCOPE))
        await _closed(channel)
        world = _StatusWorld(status, channel, metadata, receiver.url)
        fuzz = Fuzz(channel, SERVICES, world.generation, metadata)
        await all_is_well(fuzz, SERVICES, messages=rpc_messages, begin=rpc_seed)
        assert await is_serving(channel)
        late = status.execute(
            "SELECT campaign_id, sequence FROM results JOIN campaigns USING (campaign)"
            " WHERE record_time > complete_time"
        )
        status.check_invariants(raised_late={tuple(row) for row in late}, organisation="default")


async def _closed(channel: grpc.aio.Channel) -> None:
    """Wait until the service knows that there are keys."""

    async def refused() -> bool:
        try:
            await AccessServiceStub(channel).GetCaller(access_pb2.GetCallerRequest())
        except grpc.aio.AioRpcError:
            return True
        return False

    await eventually(refused, what="nobody is served without a key")


class _SenderWorld:
    """Makes campaigns of a sender, before their start and after.

    Args:
        both: the services.
    """

    def __init__(self, both: Pair) -> None:
        self._both = both

    async def generation(self, number: int) -> Known:
        """Make a generation."""
        prefix = prefix_of(number)
        for name in ("draft", "other", "due", "sent", "held"):
            await self._both.create(prefix + name, 3, family=prefix + name)
        await self._both.sender.start_campaign(campaign_id=prefix + "sent")
        await self._both.sender.start_campaign(
            campaign_id=prefix + "due", start_time=datetime(2100, 1, 1, tzinfo=UTC)
        )
        await self._both.finished(prefix + "sent")
        ids = [f"{prefix}{name}".encode() for name in ("draft", "other", "due", "sent", "held")]
        return _SENSIBLE | {
            "campaign_id": [*ids, *ids, *(f"{prefix}{new}".encode() for new in ("a", "b", "c"))],
            "source_campaign_id": ids[2:],
            "family": ids[:2],
        }


async def test_whatever_is_sent_to_the_sender_it_answers_with_a_reason(
    tmp_path: Path, rpc_messages: int, rpc_seed: int
) -> None:
    """Nothing is an internal error, no message is sent twice, and the service sends on."""
    async with pair(tmp_path) as both, open_channel(both.sender_address) as channel:
        world = _SenderWorld(both)
        fuzz = Fuzz(channel, [_SENDER_SERVICE], world.generation)
        await all_is_well(fuzz, [_SENDER_SERVICE], messages=rpc_messages, begin=rpc_seed)
        assert await is_serving(channel)
        await both.begin("honest", 3)
        assert (await both.ended("honest")).sent == 3
        handed = Counter(message.idempotency_key for message in both.channel.calls)
        assert [key for key, times in handed.items() if times > 1] == []
        with by_hand(tmp_path) as connection:
            check_invariants(connection)
