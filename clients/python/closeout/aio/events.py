"""The client of an organisation's events and webhooks, which the status service has.

Every call raises a :class:`closeout.errors.ClientError` when it fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.aio.channel import ChannelOwner
from closeout.aio.stubs import EventStub
from closeout.status.v1 import events_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping


class EventClient(ChannelOwner[EventStub]):
    """One method for each rpc of ``closeout.status.v1.EventService``.

    ::

        async with EventClient("127.0.0.1:20051") as events:
            made = await events.create_subscription(url="https://example.com/closeout")

    Its arguments are those of :class:`.channel.ChannelOwner`.
    """

    _make_stub = EventStub

    async def create_subscription(
        self,
        *,
        url: str,
        kinds: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        secret: str = "",
        request_id: str = "",
        timeout_seconds: float | None = None,
    ) -> pb.CreateSubscriptionResponse:
        """Subscribe a URL to events, and return the secret that signs them, this once.

        Args:
            url: ``https://…``; events come by POST.
            kinds: as in ``campaign.completed``; empty: those that say that a campaign ended
                or that a person should look at it.
            labels: only events of campaigns that have all of these.
            secret: the one to sign with, where the receiver has one already; empty: a new one.
            request_id: a UUID that makes the call safe to repeat.
            timeout_seconds: the deadline.

        Raises:
            InvalidArgumentError: a field is wrong, or the address is of a private network.
            ResourceExhaustedError: the organisation has 20 subscriptions.
        """
        request = pb.CreateSubscriptionRequest(
            url=url, kinds=kinds, labels=labels, secret=secret, request_id=request_id
        )
        return await self._call(self._stub.CreateSubscription, request, timeout_seconds)

    async def list_subscriptions(
        self, *, timeout_seconds: float | None = None
    ) -> pb.ListSubscriptionsResponse:
        """Return the subscriptions of the organisation, oldest first."""
        request = pb.ListSubscriptionsRequest()
        return await self._call(self._stub.ListSubscriptions, request, timeout_seconds)

    async def delete_subscription(
        self, *, subscription_id: str, timeout_seconds: float | None = None
    ) -> pb.DeleteSubscriptionResponse:
        """End a subscription, and whatever was not delivered to it.

        Raises:
            NotFoundError: the organisation has no such subscription, or not any more.
        """
        request = pb.DeleteSubscriptionRequest(subscription_id=subscription_id)
        return await self._call(self._stub.DeleteSubscription, request, timeout_seconds)

    async def list_events(
        self,
        *,
        campaign_id: str = "",
        subscription_id: str = "",
        state: pb.Delivery.State.ValueType = pb.Delivery.STATE_UNSPECIFIED,
        page_size: int = 0,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[pb.Event, None]:
        """Yield events, newest first, with what became of their deliveries.

        Args:
            campaign_id: only those of this campaign.
            subscription_id: only those of this subscription.
            state: only those whose delivery to the subscription has this state.
            page_size: how many one call fetches, 200 at most; 0: 100.
            timeout_seconds: the deadline of each call.

        Raises:
            InvalidArgumentError: ``page_size`` is negative, or ``state`` goes without
                ``subscription_id``.
            NotFoundError: the organisation has no such subscription.
        """
        request = pb.ListEventsRequest(
            campaign_id=campaign_id,
            subscription_id=subscription_id,
            state=state,
            page_size=page_size,
        )
        async for page in self._pages(self._stub.ListEvents, request, timeout_seconds):
            for event in page.events:
                yield event

    async def replay_events(
        self,
        *,
        subscription_id: str,
        event_ids: Iterable[str] = (),
        timeout_seconds: float | None = None,
    ) -> pb.ReplayEventsResponse:
        """Deliver events again, with the ids that they had.

        Args:
            subscription_id: to whom.
            event_ids: which ones, 1,000 at most; empty: the oldest dead ones, so many that
                ``more`` of the response says whether any are left.
            timeout_seconds: the deadline.

        Raises:
            InvalidArgumentError: too many events.
            NotFoundError: the organisation has no such subscription, or no such event.
        """
        request = pb.ReplayEventsRequest(subscription_id=subscription_id, event_ids=event_ids)
        return await self._call(self._stub.ReplayEvents, request, timeout_seconds)
