"""Deletes campaigns and erases addresses: the layer under gRPC, one method for each call."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from service_runtime.errors import StoreBusyError
from service_runtime.pages import Page
from status_service.errors import CampaignBusyError
from status_service.recording.transitions import claim_of
from status_service.recording.types import counters_of
from status_service.retention import deletion, erasure
from status_service.retention.erasure import Place

if TYPE_CHECKING:
    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.pages import PageRequest
    from status_service.retention.deletion import Deleted
    from status_service.retention.meter import RetentionMeter

log = structlog.get_logger()

#: Transactions that one call to erase reads, at most.
_LOOKS: Final = 25


class Erased(NamedTuple):
    """What a call to erase did.

    Attributes:
        results: in how many results it erased the address, or found it.
        groups: in how many groups of failures.
        next_page_token: for the next call; empty: all was looked at.
    """

    results: int
    groups: int
    next_page_token: str


class RetentionService:
    """What is deleted and erased by callers, each within one organisation.

    Args:
        store: the database.
        meter: counts it.
    """

    def __init__(self, store: Store, meter: RetentionMeter) -> None:
        self._store = store
        self._meter = meter
        self._tasks: set[asyncio.Task[Any]] = set()

    async def delete(
        self, caller: Caller, campaign_id: str, *, reason: str, revision: int, dry_run: bool
    ) -> Deleted:
        """Delete a campaign that has ended: :func:`.deletion.delete`.

        Raises:
            CampaignBusyError: somebody else holds it locked.
        """
        work = partial(
            deletion.delete,
            caller=caller,
            campaign_id=campaign_id,
            reason=reason,
            revision=revision,
            dry_run=dry_run,
        )
        if dry_run:
            return await self._store.read(work)
        try:
            deleted = await self._store.write(work)
        except StoreBusyError as error:
            raise CampaignBusyError(campaign_id) from error
        if deleted.is_news:
            self._meter.deleted()
            log.info(
                "campaign_deleted",
                campaign_id=campaign_id,
                organisation=caller.organisation,
                state=deleted.campaign.state,
                results=counters_of(deleted.campaign).processed,
                actor=caller.actor,
                reason=reason,
                **claim_of(caller.on_behalf_of),
            )
        return deleted

    async def erase(
        self, caller: Caller, address: str, page: PageRequest, *, dry_run: bool
    ) -> Erased:
        """Erase an address from results, from where the call before stopped.

        Raises:
            InvalidRequestError: the page token is none of this question.
        """
        question = ["erase", caller.organisation, address.lower(), dry_run]
        after = page.after(question, parts=2)
        place: Place | None = Place(*after) if after else Place(0, 0)
        results = groups = 0
        for _ in range(_LOOKS):
            if place is None:
                break
            found = await self._store.read(
                partial(
                    erasure.look, organisation=caller.organisation, address=address, after=place
                )
            )
            counts = len(found.sequences), found.groups
            if any(counts) and not dry_run:
                counts = await self._store.write(
                    partial(erasure.erase, address=address, found=found)
                )
            results, groups, place = results + counts[0], groups + counts[1], found.place
        if results and not dry_run:
            self._meter.erased(results)
        if not dry_run and (results or groups):
            # Without the address: the log is kept elsewhere.
            log.info(
                "address_erased",
                organisation=caller.organisation,
                results=results,
                actor=caller.actor,
                **claim_of(caller.on_behalf_of),
            )
        stopped_at = None if place is None else list(place)
        token = Page.of([], page, question, key_of=list, stopped_at=stopped_at).next_page_token
        return Erased(results, groups, token)
