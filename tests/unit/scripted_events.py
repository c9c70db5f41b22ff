"""The events of a status service with fixed answers, for screens that are compared sign by sign."""
# The methods of a servicer are named, described and typed by the contract.
# ruff: noqa: ANN001, ANN201, ARG002, D102, N802

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from closeout.status.v1 import events_pb2 as pb
from closeout.status.v1.events_pb2_grpc import EventServiceServicer

NOW = datetime(2030, 1, 31, 9, 0, tzinfo=UTC)
SUBSCRIPTION_ID = "9b8d1bd2-3f42-4d2e-8a53-3a3a3f5f8d01"
OTHER_ID = "1c6b1d0e-52a7-4f7f-9f3e-6d9f4d7e2b02"
EVENT_ID = "0d8f3e5b-9d0f-4f7e-8c7a-1a2b3c4d5e03"


def _at(**before: float) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(NOW - timedelta(**before))
    return made


def subscriptions() -> list[pb.Subscription]:
    """Return one that gets the usual events, and one with all that one can have."""
    return [
        pb.Subscription(
            subscription_id=SUBSCRIPTION_ID,
            url="https://example.com/closeout",
            creator="key:admin",
            create_time=_at(days=100),
        ),
        pb.Subscription(
            subscription_id=OTHER_ID,
            url="https://hooks.example.com/of/the/northern/branch?token=a-long-one",
            kinds=["campaign.completed", "campaign.failure_rate_high"],
            labels={"tenant": "north", "list": "weekly"},
            creator="key:north",
            create_time=_at(days=2),
        ),
    ]


def events() -> list[pb.Event]:
    """Return an event of each fate."""
    dead = pb.Delivery(
        subscription_id=SUBSCRIPTION_ID,
        state=pb.Delivery.DEAD,
        attempts=19,
        answer="503 the queue is full, come again later",
        end_time=_at(hours=1),
    )
    delivered = pb.Delivery(
        subscription_id=OTHER_ID,
        state=pb.Delivery.DELIVERED,
        attempts=1,
        answer="204",
        end_time=_at(hours=25),
    )
    waiting = pb.Delivery(
        subscription_id=SUBSCRIPTION_ID,
        state=pb.Delivery.PENDING,
        attempts=3,
        answer="no answer within 10 s",
        next_time=_at(minutes=-4),
    )
    common = {"campaign_id": "welcome-424c39ce"}
    return [
        pb.Event(
            event_id="0d8f3e5b-9d0f-4f7e-8c7a-1a2b3c4d5e05",
            kind="campaign.failure_rate_high",
            create_time=_at(seconds=1),
            **common,
        ),
        pb.Event(
            event_id="0d8f3e5b-9d0f-4f7e-8c7a-1a2b3c4d5e04",
            kind="campaign.stalled",
            create_time=_at(minutes=2),
            deliveries=[waiting],
            published=True,
            **common,
        ),
        pb.Event(
            event_id=EVENT_ID,
            kind="campaign.completed",
            campaign_id="done",
            create_time=_at(hours=25),
            deliveries=[dead, delivered],
            published=True,
        ),
    ]


class Events(EventServiceServicer):
    """Answers the same each time."""

    def CreateSubscription(self, request, context):
        return pb.CreateSubscriptionResponse(
            subscription=subscriptions()[0], secret="whsec_" + "A" * 43 + "="
        )

    def ListSubscriptions(self, request, context):
        return pb.ListSubscriptionsResponse(subscriptions=subscriptions())

    def DeleteSubscription(self, request, context):
        _check(request.subscription_id, context)
        return pb.DeleteSubscriptionResponse()

    def ListEvents(self, request, context):
        found = [
            event
            for event in events()
            if not request.state
            or any(
                (one.subscription_id, one.state) == (request.subscription_id, request.state)
                for one in event.deliveries
            )
        ]
        return pb.ListEventsResponse(events=found)

    def ReplayEvents(self, request, context):
        _check(request.subscription_id, context)
        return pb.ReplayEventsResponse(replayed_events=1)


def _check(subscription_id: str, context: grpc.ServicerContext) -> None:
    if subscription_id == SUBSCRIPTION_ID:
        return
    found = status_pb2.Status(
        code=grpc.StatusCode.NOT_FOUND.value[0],
        message=f"subscription {subscription_id!r} not found; closeout events subscriptions shows"
        " those of this organisation",
    )
    found.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason="SUBSCRIPTION_NOT_FOUND",
            domain="closeout",
            metadata={"subscription_id": subscription_id},
        )
    )
    context.abort_with_status(rpc_status.to_status(found))
