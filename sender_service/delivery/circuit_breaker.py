"""A provider that can't be reached: said once, waited for, given up after a deadline."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.domain import MAX_DETAIL, Backoff
from sender_service.store import campaigns
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from sender_service.campaigns.directory import ActiveCampaign
    from sender_service.channels.contract import Reply
    from service_runtime.database import Store

log = structlog.get_logger()

_SOURCE = "provider"
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 30.0


class Outage:
    """Whether the provider of one campaign can be reached, as far as is known.

    Args:
        store: the sender's.
        active: the campaign.
        deadline_seconds: after so long without an answer, the provider is given up.
    """

    def __init__(self, store: Store, active: ActiveCampaign, *, deadline_seconds: float) -> None:
        self._store = store
        self._active = active
        self._deadline_seconds = deadline_seconds
        self._backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
        #: True from the moment the provider can't be reached until it answers.
        self.lasts = False
        #: What it is about, for people.
        self.problem = ""

    async def note(self, reply: Reply | None) -> bool:
        """Note that the provider can't be reached; False: for too long now, give up."""
        said = " ".join(part for part in (reply.code, reply.detail) if part) if reply else ""
        channel = self._active.row.channel
        self.problem = f"channel {channel} can't reach its provider: {said}"[:MAX_DETAIL]
        self.lasts = True
        seconds = await self._store.write(
            partial(campaigns.note_unreachable, campaign=self._active.number)
        )
        if seconds > self._deadline_seconds:
            log.error(
                "provider_given_up",
                campaign_id=self._active.campaign_id,
                channel=channel,
                hours=round(seconds / 3600, 1),
                action="what was not sent fails; send it again in a campaign of its own",
            )
            return False
        if await self._active.tell(self._store, _SOURCE, self.problem):
            log.warning(
                "provider_unreachable",
                campaign_id=self._active.campaign_id,
                channel=channel,
                reason=said,
            )
        return True

    async def wait(self) -> None:
        """Wait before the next try to reach the provider."""
        await self._active.wait(self._backoff.next_seconds())

    async def answered(self) -> None:
        """Note that the provider answers again."""
        log.info(
            "provider_back",
            campaign_id=self._active.campaign_id,
            channel=self._active.row.channel,
        )
        try:
            await self.forget()
        except StoreUnavailableError as error:
            log.warning(
                "problem_not_cleared",
                campaign_id=self._active.campaign_id,
                error=error.message,
            )

    async def forget(self) -> None:
        """Count anew from the next outage on: a pause is no part of one."""
        self.lasts = False
        self._backoff.reset()
        await self._active.tell(self._store, _SOURCE, "")
        await self._store.write(partial(campaigns.note_reachable, campaign=self._active.number))
