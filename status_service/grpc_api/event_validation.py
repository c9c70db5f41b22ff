"""What a request of the EventService must be before anything is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from closeout.status.v1 import events_pb2
from service_runtime.validation import Validation
from status_service.events import destination, signature
from status_service.events.kinds import KINDS
from status_service.events.subscriptions import MOST_REPLAYED, NewSubscription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service_runtime.pages import PageRequest

_LONGEST_ID = 64
_STATES: Final[Mapping[int, str]] = {
    events_pb2.Delivery.STATE_UNSPECIFIED: "",
    events_pb2.Delivery.PENDING: "PENDING",
    events_pb2.Delivery.DELIVERED: "DELIVERED",
    events_pb2.Delivery.DEAD: "DEAD",
}


class EventList(NamedTuple):
    """Which events to list."""

    page: PageRequest
    campaign_id: str
    subscription_id: str
    state: str


def new_subscription(
    request: events_pb2.CreateSubscriptionRequest, *, allow_private: bool
) -> NewSubscription:
    """Return the subscription to make."""
    with Validation() as check:
        if fault := destination.fault(request.url, allow_private=allow_private):
            check.refuse("url", fault)
        for index, kind in enumerate(request.kinds):
            if kind not in KINDS:
                known = ", ".join(KINDS)
                check.refuse(f"kinds[{index}]", f"{kind[:_LONGEST_ID]!r} is none of {known}")
        if request.secret and not signature.is_secret(request.secret):
            check.refuse("secret", "expected whsec_ and 24 to 64 bytes in base64")
        return NewSubscription(
            url=request.url,
            kinds=list(request.kinds),
            labels=check.labels(request.labels),
            secret=request.secret,
            request_id=check.request_id(request.request_id),
        )


def subscription_id(request: events_pb2.DeleteSubscriptionRequest) -> str:
    """Return the subscription that a request is about."""
    with Validation() as check:
        return check.text(
            "subscription_id", request.subscription_id, longest=_LONGEST_ID, required=True
        )


def event_list(request: events_pb2.ListEventsRequest) -> EventList:
    """Return which events to list."""
    with Validation() as check:
        state = check.enum("state", request.state, _STATES, default="")
        if state and not request.subscription_id:
            check.refuse("subscription_id", "required with state")
        return EventList(
            page=check.page(request.page_size, request.page_token, default=100),
            campaign_id=check.campaign_id(request.campaign_id, optional=True),
            subscription_id=check.text(
                "subscription_id", request.subscription_id, longest=_LONGEST_ID
            ),
            state=state,
        )


def replay(request: events_pb2.ReplayEventsRequest) -> tuple[str, list[str]]:
    """Return to which subscription events are replayed, and which ones; none: its dead ones."""
    with Validation() as check:
        if len(request.event_ids) > MOST_REPLAYED:
            check.refuse("event_ids", f"{len(request.event_ids)} given; at most {MOST_REPLAYED}")
        else:
            for index, event_id in enumerate(request.event_ids):
                check.text(f"event_ids[{index}]", event_id, longest=_LONGEST_ID, required=True)
            check.unique("event_ids", request.event_ids)
        wanted = check.text(
            "subscription_id", request.subscription_id, longest=_LONGEST_ID, required=True
        )
    return wanted, list(request.event_ids)
