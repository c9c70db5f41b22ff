"""Events: the outbox reaches the URLs that subscribed, signed, once or more, in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from closeout.aio.channel import open_channel
from closeout.status.v1 import events_pb2 as pb
from closeout.status.v1.events_pb2_grpc import EventServiceStub
from integration.databases import Database
from integration.status_support import FAILED, Status, eventually, results, serving
from providers.event_receiver import Receiver, receiving
from status_service.events import destination


class _Events:
    """A status service that may reach this machine, its events, and a receiver."""

    def __init__(self, status: Status, stub: EventServiceStub, receiver: Receiver) -> None:
        self.status = status
        self.stub = stub
        self.receiver = receiver

    async def subscribe(self, **fields: object) -> pb.CreateSubscriptionResponse:
        """Subscribe the receiver."""
        request = pb.CreateSubscriptionRequest(**{"url": self.receiver.url, **fields})
        return await self.stub.CreateSubscription(request, timeout=30)

    async def received(self, number: int) -> list[dict[str, object]]:
        """Wait for so many accepted deliveries; return their events."""

        async def enough() -> bool:
            return len(self.receiver.events()) >= number

        await eventually(enough, what=f"{number} events")
        return self.receiver.events()


@asynccontextmanager
async def _serving(
    database: Database, receiver: Receiver, **changed: object
) -> AsyncIterator[_Events]:
    """Serve with events that may go to this machine."""
    values = {"webhooks_allow_private": True, "reconcile_interval_seconds": 0.1, **changed}
    async with (
        serving(database, **values) as status,
        open_channel(status.address) as channel,
    ):
        yield _Events(status, EventServiceStub(channel), receiver)


@pytest.fixture
async def events(database: Database) -> AsyncIterator[_Events]:
    """A status service whose events may go to this machine, and a receiver."""
    async with receiving() as receiver, _serving(database, receiver) as serves:
        yield serves
        serves.status.check_invariants()


async def test_a_completed_campaign_is_announced_with_a_signature(events: _Events) -> None:
    """Somebody else's code of Standard Webhooks accepts it; the event is a CloudEvent."""
    made = await events.subscribe()
    await events.status.start("welcome", 2)
    await events.status.report("welcome", *results((1, 2)))
    (event,) = await events.received(1)
    delivery = events.receiver.deliveries[0]
    Webhook(made.secret).verify(delivery.body.decode(), delivery.headers)
    assert delivery.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert event["specversion"] == "1.0"
    assert event["type"] == "closeout.campaign.completed.v1"
    assert event["source"] == "/closeout/organisations/default"
    assert event["subject"] == "welcome"
    assert event["id"] == delivery.headers["webhook-id"]
    data = event["data"]
    assert isinstance(data, dict)
    assert (data["state"], data["sent"], data["total"]) == ("COMPLETED", "2", "2")
    assert data["transition"]["cause"] == "RESULT"
    assert data["explanation"].startswith("Completed")


@pytest.mark.usefixtures("soon_tried_again")
async def test_a_failed_delivery_is_tried_again_with_the_same_id_and_in_order(
    events: _Events,
) -> None:
    """What comes later of the same campaign waits; another campaign does not."""
    let_through = asyncio.Event()

    def behaviour(_number: int, event: dict[str, object]) -> web.Response:
        refused = event["subject"] == "slow" and not let_through.is_set()
        return web.Response(status=500 if refused else 200)

    events.receiver.behaviour = behaviour
    await events.subscribe(kinds=["campaign.sending", "campaign.completed"])
    await events.status.start("slow", 1)

    async def refused() -> bool:
        return bool(events.receiver.deliveries)

    await eventually(refused, what="the refused delivery")
    await events.status.report("slow", *results((1,)))
    await events.status.start("quick", 0)
    await events.received(2)
    let_through.set()
    received = await events.received(4)
    first = events.receiver.deliveries[0].event
    of_slow = [event for event in received if event["subject"] == "slow"]
    assert [event["type"] for event in of_slow] == [
        "closeout.campaign.sending.v1",
        "closeout.campaign.completed.v1",
    ]
    assert of_slow[0] == first, "the same bytes"
    assert received.index(of_slow[1]) > 1, "the quick campaign did not wait"


async def test_labels_and_kinds_choose_what_a_subscription_gets(events: _Events) -> None:
    """Only campaigns with all of its labels, and only the kinds that it names."""
    await events.subscribe(labels={"tenant": "a"}, kinds=["campaign.completed"])
    for campaign_id, labels in (("mine", {"tenant": "a", "list": "x"}), ("other", {"tenant": "b"})):
        await events.status.client.create_campaign(campaign_id=campaign_id, labels=labels)
        await events.status.client.start_campaign(campaign_id=campaign_id, total=0)
    await events.status.client.create_campaign(campaign_id="last", labels={"tenant": "a"})
    await events.status.client.start_campaign(campaign_id="last", total=0)
    received = await events.received(2)
    assert [event["subject"] for event in received] == ["mine", "last"]


async def test_a_stalled_campaign_is_announced_once_and_so_is_its_recovery(
    database: Database,
) -> None:
    """Neither every pass nor a restart of the service announces it again."""
    async with receiving() as receiver:
        for _ in range(2):
            async with _serving(database, receiver, stall_threshold_seconds=0.3) as events:
                if not receiver.deliveries:
                    await events.subscribe()
                    await events.status.start("stuck", 2)
                    await events.status.report("stuck", *results((1,)))
                await events.received(1)
        async with _serving(database, receiver, stall_threshold_seconds=300.0) as events:
            await events.received(2)
            await events.status.report("stuck", *results((2,)))
            received = await events.received(3)
    assert [event["type"] for event in received] == [
        "closeout.campaign.stalled.v1",
        "closeout.campaign.recovered.v1",
        "closeout.campaign.completed.v1",
    ]
    data = received[0]["data"]
    assert isinstance(data, dict)
    assert data["diagnosis"] == "STALLED"
    assert "No result for" in data["explanation"]


async def test_a_high_failure_rate_is_announced_also_of_a_campaign_that_is_over_at_once(
    events: _Events,
) -> None:
    """A tenth of the results failed: one event, whether the pass or the last result finds it."""
    await events.subscribe(kinds=["campaign.failure_rate_high"])
    for campaign_id, total in (("over", 100), ("open", 101)):
        await events.status.start(campaign_id, total)
        await events.status.report(campaign_id, *results(range(1, 11), FAILED))
        await events.status.report(campaign_id, *results(range(11, 101)))
    received = await events.received(2)
    await events.status.report("open", *results((101,)))
    assert sorted(str(event["subject"]) for event in received) == ["open", "over"]
    assert len(events.receiver.events()) == 2


async def test_a_redirect_is_not_followed_and_what_is_dead_can_be_replayed(
    events: _Events,
) -> None:
    """The list names the answer; a replay delivers the same event with the same id."""
    moved = {"location": events.receiver.url}
    events.receiver.behaviour = lambda *_: web.Response(status=307, headers=moved)
    made = await events.subscribe(kinds=["campaign.completed"])
    await events.status.start("a", 0)

    async def refused() -> bool:
        return bool(events.status.execute("SELECT 1 FROM deliveries WHERE attempts > 0"))

    await eventually(refused, what="the delivery")
    events.status.execute(
        "UPDATE deliveries SET first_time = next_time - 100000000000, next_time = 0"
    )

    async def is_dead() -> bool:
        found = await events.stub.ListEvents(
            pb.ListEventsRequest(
                subscription_id=made.subscription.subscription_id, state=pb.Delivery.DEAD
            )
        )
        return bool(found.events)

    await eventually(is_dead, what="the dead letter")
    found = await events.stub.ListEvents(pb.ListEventsRequest(campaign_id="a"))
    dead = [one for event in found.events for one in event.deliveries]
    assert [one.state for one in dead] == [pb.Delivery.DEAD]
    assert "redirects are not followed" in dead[0].answer
    events.receiver.behaviour = lambda *_: web.Response(status=200)
    replayed = await events.stub.ReplayEvents(
        pb.ReplayEventsRequest(subscription_id=made.subscription.subscription_id)
    )
    assert (replayed.replayed_events, replayed.more) == (1, False)
    (event,) = await events.received(1)
    assert {one.event["id"] for one in events.receiver.deliveries} == {event["id"]}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/events",
        "https://127.0.0.1/events",
        "https://[::1]/events",
        "https://[::ffff:10.0.0.1]/events",
        "https://169.254.169.254/latest",
        "https://localhost/events",
        "https://user:password@example.com/events",
        "example.com",
        "https:///events",
        "",
    ],
)
async def test_an_address_of_a_private_network_is_refused(status: Status, url: str) -> None:
    """Unless a setting allows it, nobody makes this service call what only its machine reaches."""
    async with open_channel(status.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EventServiceStub(channel).CreateSubscription(
                pb.CreateSubscriptionRequest(url=url)
            )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "url: " in str(caught.value.details())


async def test_a_name_of_a_private_address_is_refused_when_it_is_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name resolves to is checked for each connection, and that address is called."""
    # A name that nobody knows to be of this machine before it is resolved.
    monkeypatch.setattr(destination, "_literal_is_private", lambda _: False)
    async with receiving() as receiver, serving(database) as status:
        status.execute(
            "INSERT INTO subscriptions (organisation, subscription_id, url, secret, kinds, labels,"
            " creator, create_time) VALUES ('default', 's', ?, 'whsec_', '[]', '{}', '', 1)",
            receiver.url.replace("127.0.0.1", "localhost").replace("http:", "https:"),
        )
        await status.start("a", 0)

        async def refused() -> bool:
            answers = status.execute("SELECT answer FROM deliveries WHERE attempts > 0")
            return bool(answers) and "private network" in json.dumps(list(map(list, answers)))

        await eventually(refused, what="the refusal")
    assert receiver.deliveries == []
