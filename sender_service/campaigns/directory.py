"""A campaign this process works on: its state as far as known, and what holds it up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from sender_service.domain import Problem, ProblemKind
from sender_service.store import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from sender_service.domain import State
    from service_runtime.database import Store

log = structlog.get_logger()

#: How often a campaign that only a person can help is looked at again, seconds.
_STUCK_SECONDS = 60.0
_KINDS = {
    "channel": ProblemKind.CHANNEL_UNAVAILABLE,
    "provider": ProblemKind.PROVIDER_UNREACHABLE,
    "report": ProblemKind.RESULTS_REJECTED,
    "start": ProblemKind.START_REFUSED,
}


class ActiveCampaign:
    """A campaign that is not finished.

    ``state`` is None until the status service has told it to this process: what
    was true before a restart allows nothing now.

    Args:
        row: its row in ``campaigns``.
    """

    def __init__(self, row: sa.Row[Any]) -> None:
        self.row = row
        self.number: int = row.campaign
        self.campaign_id: str = row.campaign_id
        self.state: State | None = None
        #: The revision of ``state``; 0 until there is one.
        self.revision = 0
        self._received = False
        #: Called when the state changes, so that a running shard notices at once.
        self.on_change: Callable[[], None] | None = None
        self._changed = asyncio.Event()
        self._problems: dict[str, Problem] = {}

    def begin_stream(self) -> None:
        """Accept the next state whatever its revision: a restored database has lower ones."""
        self._received = False

    def receive(self, state: State, revision: int) -> bool:
        """Take a state that the stream brought; False if it is not news.

        Within one stream a state that is not newer than the last one changes nothing.
        """
        if self._received and revision <= self.revision:
            return False
        self._received = True
        self.revision = revision
        if state is self.state:
            return False
        log.info(
            "campaign_state_received",
            campaign_id=self.campaign_id,
            organisation=self.row.organisation,
            state_before=self.state,
            state=state,
            revision=revision,
        )
        self.state = state
        self.wake()
        return True

    def wake(self) -> None:
        """Make whoever works on the campaign look again."""
        self._changed.set()
        if self.on_change is not None:
            self.on_change()

    async def wait(self, seconds: float | None) -> None:
        """Wait until something changed, at most ``seconds``; None: however long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def tell(self, store: Store, source: str, problem: str) -> bool:
        """Set what holds the campaign up, as ``source`` sees it; empty: nothing does.

        It is stored for GetDelivery. False if nothing is new.
        """
        stored = self._problems.get(source)
        if (stored.summary if stored else "") == problem:
            return False
        if problem:
            since = stored.since_time if stored else datetime.now(UTC)
            self._problems[source] = Problem(_KINDS[source], problem, since_time=since)
        else:
            del self._problems[source]
        problems = tuple(self._problems.values())
        await store.write(
            partial(campaigns.store_problems, campaign=self.number, problems=problems)
        )
        return True

    async def tell_stuck(self, store: Store, source: str, problem: str) -> None:
        """Say that only a person can help, once, and wait a while."""
        if await self.tell(store, source, problem):
            log.error(
                "campaign_stuck",
                campaign_id=self.campaign_id,
                reason=problem,
                action="needs manual intervention; it goes on by itself afterwards",
            )
        await self.wait(_STUCK_SECONDS)
