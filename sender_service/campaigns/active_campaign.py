"""One campaign at work, as this process knows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from sender_service.campaigns.known_problems import KnownProblems
from sender_service.domain import State

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sender_service.domain import Problem

log = structlog.get_logger()


class ActiveCampaign:
    """A campaign that is not finished.

    Attributes:
        row: its row in ``campaigns``, without the content.
        number: its number within the store.
        campaign_id: the id that callers know; other organisations may have the same.
        organisation: whose it is.
        state: None until the status service has answered this process: what was true
            before a restart allows nothing now. Only :meth:`Directory.receive` sets it.
        revision: the revision of ``state``; 0 until there is one.
        sealing: held while the campaign is sealed, so that the time it is scheduled for
            is stored in the order in which the status service took it.
        known_problems: what holds it up, by source. Only :meth:`Directory.set_problem`
            changes them.
    """

    def __init__(self, row: sa.Row[Any]) -> None:
        self.row = row
        self.number: int = row.campaign
        self.campaign_id: str = row.campaign_id
        self.organisation: str = row.organisation
        self.state: State | None = None
        self.revision = 0
        self.sealing = asyncio.Lock()
        self._on_stream = False
        self._changed = asyncio.Event()
        self.known_problems = KnownProblems()

    def begin_stream(self) -> None:
        """Accept the next state whatever its revision: a restored database has lower ones."""
        self._on_stream = False

    def forget_state(self) -> None:
        """Know no state, as after a restart: nothing is sent until the next one comes."""
        self.state, self.revision = None, 0
        self.begin_stream()
        self.wake()

    @property
    def is_unconfirmed(self) -> bool:
        """True while it is sent by a state that the present stream has not brought again."""
        return self.state is State.SENDING and not self._on_stream

    def receive(self, state: State, revision: int) -> bool:
        """Take a state that the stream brought; False if it is the same, or not newer."""
        if self._on_stream and revision <= self.revision:
            return False
        self._on_stream = True
        before, self.state, self.revision = self.state, state, revision
        if before is state:
            return False
        log.info(
            "campaign_state_received",
            campaign_id=self.campaign_id,
            organisation=self.organisation,
            state_before=before,
            state=state,
            revision=revision,
        )
        self.wake()
        return True

    def wake(self) -> None:
        """Make whoever works on the campaign look again."""
        self._changed.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait until something changed, at most ``seconds``; None: however long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What holds the campaign up, as far as this process knows."""
        return self.known_problems.all
