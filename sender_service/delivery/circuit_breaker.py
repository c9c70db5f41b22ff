"""Stop sending to a provider that can't be reached, probe it, give it up after a deadline."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns.directory import Source
from sender_service.domain import MAX_DETAIL, Backoff, Problem, ProblemKind
from sender_service.store import campaigns
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sender_service.campaigns.directory import ActiveCampaign, Directory
    from sender_service.channels.contract import Reply
    from service_runtime.database import Store

log = structlog.get_logger()

_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 30.0


class Breaker(enum.Enum):
    """What a circuit breaker lets through."""

    #: Everything: the provider answers, as far as is known.
    CLOSED = "closed"
    #: Nothing: the provider can't be reached. Left after a while.
    OPEN = "open"
    #: One message at a time, until the provider answers one or can't be reached again.
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Whether the provider of one campaign can be reached, as far as is known.

    Args:
        store: the sender's.
        directory: shows the problem.
        active: the campaign.
        deadline_seconds: without an answer for longer, delivery to the provider ends.

    Attributes:
        state: what is let through.
        problem: what is the matter, for people.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        active: ActiveCampaign,
        *,
        deadline_seconds: float,
    ) -> None:
        self._store = store
        self._directory = directory
        self._active = active
        self._deadline_seconds = deadline_seconds
        self._backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)
        self.state = Breaker.CLOSED
        self.problem = ""
        #: True while the store may have an outage; only a write that ends it clears this.
        self._outage_stored = False

    async def open(self, reply: Reply | None) -> bool:
        """Let nothing through: the provider can't be reached. False: for too long.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        channel = self._active.row.channel
        answer = " ".join(filter(None, (reply.code, reply.detail))) if reply else ""
        summary = f"channel {channel} can't reach its provider"
        self.problem = f"{summary}: {answer}"[:MAX_DETAIL]
        begins = self.state is Breaker.CLOSED
        self._outage_stored = True
        seconds = await self._store.write(partial(self._note_unreachable, begins=begins))
        self.state = Breaker.OPEN
        if seconds > self._deadline_seconds:
            log.error(
                "provider_given_up",
                campaign_id=self._active.campaign_id,
                channel=channel,
                hours=round(seconds / 3600, 1),
                action="what was not sent fails; send it again in a new campaign",
            )
            return False
        problem = Problem(
            ProblemKind.PROVIDER_UNREACHABLE,
            summary,
            detail=answer[:MAX_DETAIL],
            provider=channel,
        )
        if await self._directory.set_problem(self._active, Source.PROVIDER, problem):
            log.warning(
                "provider_unreachable",
                campaign_id=self._active.campaign_id,
                channel=channel,
                reason=answer,
            )
        return True

    def _note_unreachable(self, connection: sa.Connection, *, begins: bool) -> float:
        """Return for how many seconds the present outage lasts.

        One that begins now has nothing of an earlier one whose end was not stored.
        """
        if begins:
            campaigns.note_reachable(connection, self._active.number)
        return campaigns.note_unreachable(connection, self._active.number)

    async def half_open(self) -> None:
        """Wait a while, each time for longer, then let one message through."""
        await self._active.wait(self._backoff.next_seconds())
        if self.state is Breaker.OPEN:
            self.state = Breaker.HALF_OPEN

    async def answered(self) -> None:
        """Let everything through, since the provider answers.

        What the store does not take, the next answer stores.
        """
        if self.state is not Breaker.CLOSED:
            log.info(
                "provider_recovered",
                campaign_id=self._active.campaign_id,
                channel=self._active.row.channel,
            )
        try:
            await self.close()
        except StoreUnavailableError as error:
            log.warning(
                "problem_not_cleared",
                campaign_id=self._active.campaign_id,
                error=error.message,
            )

    async def close(self) -> None:
        """Count from the next failure on, since a pause is no part of an outage.

        Raises:
            StoreUnavailableError: the store does not answer; the next call tries again.
        """
        self.state = Breaker.CLOSED
        self._backoff.reset()
        if not self._outage_stored:
            return
        await self._directory.set_problem(
            self._active,
            Source.PROVIDER,
            None,
            also=partial(campaigns.note_reachable, campaign=self._active.number),
        )
        self._outage_stored = False
