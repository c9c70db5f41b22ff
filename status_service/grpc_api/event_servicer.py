"""EventService on gRPC. Each method checks its request, calls the service, and converts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from closeout.status.v1 import events_pb2, events_pb2_grpc
from service_runtime.caller import caller_of
from status_service.grpc_api import event_validation as validation
from status_service.grpc_api.messages import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from status_service.events.service import EventService

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class EventServicer(events_pb2_grpc.EventServiceServicer):
    """The calls of ``protos/closeout/status/v1/events.proto``, which says what each promises.

    Args:
        service: subscriptions and events.
    """

    def __init__(self, service: EventService) -> None:
        self._service = service

    async def CreateSubscription(  # noqa: D102, N802
        self, request: events_pb2.CreateSubscriptionRequest, context: _Context
    ) -> events_pb2.CreateSubscriptionResponse:
        new = validation.new_subscription(request, allow_private=self._service.allow_private)
        row, secret = await self._service.subscribe(caller_of(context), new)
        return events_pb2.CreateSubscriptionResponse(
            subscription=_to_subscription(row), secret=secret
        )

    async def ListSubscriptions(  # noqa: D102, N802
        self,
        request: events_pb2.ListSubscriptionsRequest,  # noqa: ARG002 - has no field
        context: _Context,
    ) -> events_pb2.ListSubscriptionsResponse:
        rows = await self._service.subscriptions(caller_of(context))
        return events_pb2.ListSubscriptionsResponse(subscriptions=map(_to_subscription, rows))

    async def DeleteSubscription(  # noqa: D102, N802
        self, request: events_pb2.DeleteSubscriptionRequest, context: _Context
    ) -> events_pb2.DeleteSubscriptionResponse:
        await self._service.unsubscribe(caller_of(context), validation.subscription_id(request))
        return events_pb2.DeleteSubscriptionResponse()

    async def ListEvents(  # noqa: D102, N802
        self, request: events_pb2.ListEventsRequest, context: _Context
    ) -> events_pb2.ListEventsResponse:
        requested = validation.event_list(request)
        found = await self._service.list_events(
            caller_of(context),
            requested.page,
            campaign_id=requested.campaign_id,
            subscription_id=requested.subscription_id,
            state=requested.state,
        )
        return events_pb2.ListEventsResponse(
            events=[_to_event(row, found.deliveries.get(row.event, ())) for row in found.page.rows],
            next_page_token=found.page.next_page_token,
        )

    async def ReplayEvents(  # noqa: D102, N802
        self, request: events_pb2.ReplayEventsRequest, context: _Context
    ) -> events_pb2.ReplayEventsResponse:
        subscription_id, event_ids = validation.replay(request)
        replayed = await self._service.replay(caller_of(context), subscription_id, event_ids)
        return events_pb2.ReplayEventsResponse(replayed_events=replayed.number, more=replayed.more)


def _to_subscription(row: sa.Row[Any]) -> events_pb2.Subscription:
    return events_pb2.Subscription(
        subscription_id=row.subscription_id,
        url=row.url,
        kinds=json.loads(row.kinds),
        labels=json.loads(row.labels),
        creator=row.creator,
        create_time=to_timestamp(row.create_time),
    )


def _to_event(row: sa.Row[Any], deliveries: Sequence[sa.Row[Any]]) -> events_pb2.Event:
    return events_pb2.Event(
        event_id=row.event_id,
        kind=row.kind,
        campaign_id=row.campaign_id,
        create_time=to_timestamp(row.create_time),
        deliveries=map(_to_delivery, deliveries),
        published=row.publish_time is not None,
    )


def _to_delivery(row: sa.Row[Any]) -> events_pb2.Delivery:
    return events_pb2.Delivery(
        subscription_id=row.subscription_id,
        state=events_pb2.Delivery.State.Value(row.state),
        attempts=row.attempts,
        answer=row.answer,
        next_time=to_timestamp(row.next_time if row.state == "PENDING" else None),
        end_time=to_timestamp(row.end_time),
    )
