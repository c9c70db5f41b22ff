"""Deletes campaigns, erases addresses, and removes what is kept no longer."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter

from sender_service.campaigns import status_gateway
from sender_service.channels.errors import InvalidAddressError
from sender_service.domain import Phase
from sender_service.errors import CampaignNotEndedError, CampaignNotFoundError
from sender_service.store import campaigns, erasure, removal
from service_runtime.errors import ServiceError
from service_runtime.pages import Page
from service_runtime.repetition import repeat

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sender_service.campaigns.status_account import StatusAccount
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.store.removal import Expiry, Removal, Step
    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.pages import PageRequest

log = structlog.get_logger()

#: How often something to remove is looked for, seconds.
LOOK_SECONDS = 2.0
_DONE: Final = {"recipients": "recipients_removed", "campaign": "campaign_removed"}
_WHAT: Final = ("content", "recipients", "campaign")


class Deleted(NamedTuple):
    """Whether this call deleted a campaign, or would, and how many recipients it had."""

    is_news: bool
    recipients: int


class Erased(NamedTuple):
    """What a call to erase did.

    Attributes:
        recipients: how many recipients were erased, or found.
        outcomes: how many outcomes of theirs.
        open_campaign_ids: campaigns that have the address and have not ended.
        next_page_token: for the next call; empty: all was looked at.
    """

    recipients: int
    outcomes: int
    open_campaign_ids: list[str]
    next_page_token: str


class Retention:
    """What the sender keeps of campaigns, and for how long.

    Args:
        store: the sender's.
        channels: say how they store an address.
        account: reaches the status service.
        expiry: how long what is kept of campaigns that have ended.
        registry_of_metrics: where the metrics are registered.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        account: StatusAccount,
        *,
        expiry: Expiry,
        registry_of_metrics: CollectorRegistry,
    ) -> None:
        self._store = store
        self._channels = channels
        self._account = account
        self._expiry = expiry
        self._removed = Counter(
            "closeout_removed_rows",
            "Rows removed: recipients kept no longer, contents, and all of deleted campaigns.",
            ["what"],
            registry=registry_of_metrics,
        )
        for what in _WHAT:
            self._removed.labels(what)
        self._erased = Counter(
            "closeout_erased_recipients",
            "Recipients that were erased.",
            registry=registry_of_metrics,
        )

    async def delete(self, caller: Caller, campaign_id: str, *, dry_run: bool) -> Deleted:
        """Delete a campaign that is finished, or was dropped before it was started.

        Raises:
            CampaignNotFoundError: there is none, and there was none.
            CampaignNotEndedError: it is at work, or may be started yet.
            StatusServiceUnavailableError: only the status service knows, and does not answer.
        """
        key = (caller.organisation, campaign_id)
        try:
            row = await self._store.read(lambda connection: campaigns.get(connection, *key))
        except CampaignNotFoundError:
            if await self._store.read(lambda c: removal.find_deleted(c, *key)) is None:
                raise
            return Deleted(is_news=False, recipients=0)
        if row.phase == Phase.COLLECTING:
            client = self._account.client(caller.organisation, caller)
            if await status_gateway.drop_cancelled(self._store, client, row):
                row = await self._store.read(lambda connection: campaigns.get(connection, *key))
        if row.phase != Phase.FINISHED:
            raise CampaignNotEndedError(campaign_id, phase=row.phase)
        if dry_run:
            return Deleted(is_news=True, recipients=row.total)
        if not await self._store.write(partial(removal.delete, row=row, actor=caller.actor)):
            raise CampaignNotEndedError(campaign_id, phase=row.phase)
        log.info(
            "campaign_deleted",
            campaign_id=campaign_id,
            organisation=caller.organisation,
            recipients=row.total,
            actor=caller.actor,
        )
        return Deleted(is_news=True, recipients=row.total)

    async def erase(
        self, caller: Caller, address: str, page: PageRequest, *, dry_run: bool
    ) -> Erased:
        """Erase an address from campaigns that have ended, from where the call before stopped.

        Raises:
            InvalidRequestError: the page token is none of this question.
        """
        question = ["erase", caller.organisation, address.lower(), dry_run]
        after = page.after(question) or [0]
        found = await self._store.read(
            partial(
                erasure.look,
                organisation=caller.organisation,
                address=address,
                after=after[0],
                forms=partial(self._forms, address),
            )
        )
        if dry_run:
            gone = await self._store.read(partial(erasure.count, found=found))
        elif found.messages or found.uploads:
            gone = await self._store.write(partial(erasure.erase, address=address, found=found))
            self._erased.inc(gone.recipients)
            # Without the address: the log is kept elsewhere.
            log.info(
                "address_erased",
                organisation=caller.organisation,
                recipients=gone.recipients,
                actor=caller.actor,
            )
        else:
            gone = erasure.Erased(0, 0)
        stopped_at = None if found.last is None else [found.last]
        token = Page.of([], page, question, key_of=list, stopped_at=stopped_at).next_page_token
        return Erased(gone.recipients, gone.outcomes, list(found.open_campaign_ids), token)

    def _forms(self, address: str, channel: str) -> set[str]:
        """Return how a channel may have stored an address."""
        forms = {address, address.lower()}
        try:
            forms.add(self._channels.get(channel).check_address(address))
        except (InvalidAddressError, ServiceError):
            return forms  # not an address of it, or it is installed no more
        return forms

    async def run(self) -> None:
        """Remove what is to be removed, for ever; a store that does not answer is waited for."""
        # Messages are sent and reported whatever is removed.
        await repeat(
            self.sweep,
            rest=partial(asyncio.sleep, LOOK_SECONDS),
            postponed="removal_postponed",
            failed="removal_failed",
        )

    async def sweep(self) -> bool:
        """Do one transaction of what is to be done; False: there is nothing.

        It leaves as much time to others as it takes.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        found = await self._store.read(removal.first)
        begun = time.monotonic()
        if found is not None:
            step, key = await self._store.write(partial(_step, found=found))
            self._removed.labels(found.what).inc(step.rows)
            if step.done:
                log.info(_DONE[found.what], **key, rows=step.removed)
        elif await self._store.read(partial(removal.is_due, expiry=self._expiry)):
            for what, row in await self._store.write(partial(removal.expire, expiry=self._expiry)):
                if what == "content":
                    self._removed.labels(what).inc()
                    log.info(
                        "content_removed",
                        campaign_id=row.campaign_id,
                        organisation=row.organisation,
                    )
        else:
            return False
        await asyncio.sleep(time.monotonic() - begun)
        return True


def _step(connection: sa.Connection, found: Removal) -> tuple[Step, dict[str, Any]]:
    key = removal.key_of(connection, found)
    return removal.step(connection, found), key
