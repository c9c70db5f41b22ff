"""What can be done with events and subscriptions: the layer under gRPC."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from status_service.events import event_list, subscriptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.pages import PageRequest
    from status_service.events.event_list import EventPage
    from status_service.events.subscriptions import NewSubscription, Replayed

log = structlog.get_logger()


class EventService:
    """The subscriptions and events of all organisations; each caller sees those of one.

    Args:
        store: the database.
        stall_threshold: for the explanation in events that were never sent.
        allow_private: whether receivers of private networks are allowed.
    """

    def __init__(self, store: Store, *, stall_threshold: timedelta, allow_private: bool) -> None:
        self._store = store
        self._stall_threshold = stall_threshold
        self.allow_private = allow_private

    async def subscribe(self, caller: Caller, new: NewSubscription) -> tuple[sa.Row[Any], str]:
        """Subscribe: :func:`.subscriptions.create`.

        Raises:
            SubscriptionAlreadyExistsError: the request id was used for other content.
            TooManySubscriptionsError: the organisation has as many as it may.
        """
        row, secret = await self._store.write(partial(subscriptions.create, caller=caller, new=new))
        if secret:
            log.info(
                "subscription_created",
                organisation=caller.organisation,
                subscription_id=row.subscription_id,
                url=row.url.partition("?")[0],  # what follows may be a secret of the receiver
                actor=caller.actor,
            )
        return row, secret

    async def subscriptions(self, caller: Caller) -> Sequence[sa.Row[Any]]:
        """Return the subscriptions of the caller's organisation, oldest first."""
        return await self._store.read(
            partial(subscriptions.listed, organisation=caller.organisation)
        )

    async def unsubscribe(self, caller: Caller, subscription_id: str) -> None:
        """End a subscription: :func:`.subscriptions.delete`.

        Raises:
            SubscriptionNotFoundError: there is none in this organisation.
        """
        await self._store.write(
            partial(
                subscriptions.delete,
                organisation=caller.organisation,
                subscription_id=subscription_id,
            )
        )
        log.info(
            "subscription_deleted",
            organisation=caller.organisation,
            subscription_id=subscription_id,
            actor=caller.actor,
        )

    async def list_events(
        self,
        caller: Caller,
        page: PageRequest,
        *,
        campaign_id: str = "",
        subscription_id: str = "",
        state: str = "",
    ) -> EventPage:
        """Return a page of events: :func:`.event_list.list_events`.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
        """
        return await self._store.read(
            partial(
                event_list.list_events,
                organisation=caller.organisation,
                page=page,
                campaign_id=campaign_id,
                subscription_id=subscription_id,
                state=state,
            )
        )

    async def replay(
        self, caller: Caller, subscription_id: str, event_ids: Sequence[str]
    ) -> Replayed:
        """Deliver events again: :func:`.subscriptions.replay`.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
            EventNotFoundError: there is no such event.
        """
        replayed = await self._store.write(
            partial(
                subscriptions.replay,
                organisation=caller.organisation,
                subscription_id=subscription_id,
                event_ids=event_ids,
                stall_threshold=self._stall_threshold,
            )
        )
        log.info(
            "events_replayed",
            organisation=caller.organisation,
            subscription_id=subscription_id,
            events=replayed.number,
            actor=caller.actor,
        )
        return replayed
