"""Notice that the status service lost results it had acknowledged, and bring them back.

A status database that was restored from a backup does not know it: its identity is
that of the backup. So each new stream asks for every campaign that may be concerned,
and what the status service has is compared with what it acknowledged before. What it
lost is in the journal here and is reported again; nothing is sent again by that.

Results of other reporters count at the status service as well and can hide, from
the comparison of counts, that ours are lost. A campaign that ended here shows it all
the same: it had a result for every message, so it must have ended there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from sender_service.domain import State
from sender_service.reporting import wire
from sender_service.store import campaigns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    import sqlalchemy as sa

    from closeout.status.v1 import status_pb2 as pb
    from sender_service.campaigns.directory import ActiveCampaign
    from sender_service.reporting.acknowledgements import Acknowledgements
    from sender_service.reporting.relay_queue import Backlog
    from service_runtime.database import Store

log = structlog.get_logger()

#: Why a frame is rejected whose campaign the status service lost, or the seal of it.
NOT_THERE = frozenset({"CAMPAIGN_NOT_FOUND", "CAMPAIGN_NOT_SEALED"})


class Told(NamedTuple):
    """What the status service has of a campaign; ``state`` None: it does not know it."""

    state: State | None
    processed: int
    revision: int = 0

    @property
    def is_sealed(self) -> bool:
        """True where results are taken. Here every campaign at work was sealed once."""
        return self.state not in {None, State.DRAFT}

    def lacks(self, *, acknowledged: int, finished: bool) -> bool:
        """Return whether something is lost that the status service once had.

        Args:
            acknowledged: how many outcomes it acknowledged before it told this.
            finished: true if it acknowledged one for every message.
        """
        if self.state is None or not self.is_sealed:
            return True
        return self.processed < acknowledged or (finished and not self.state.is_terminal)


class Recovery:
    """Compares what the status service has with what it acknowledged, stream by stream.

    Args:
        store: the sender's.
        backlog: what is to be reported; a campaign's pages are admitted here.
        acknowledgements: written down as they come.
        replay_days: how long after its end a campaign is asked for.

    Attributes:
        take_up: works on what is open in the store and not worked on.
        seal: registers and seals a campaign, then calls :meth:`sealing_ended`.
    """

    def __init__(
        self,
        store: Store,
        backlog: Backlog,
        acknowledgements: Acknowledgements,
        *,
        replay_days: int,
    ) -> None:
        self._store = store
        self._backlog = backlog
        self._acknowledgements = acknowledgements
        self._replay_days = replay_days
        self.take_up: Callable[[], Awaitable[None]] | None = None
        self.seal: Callable[[ActiveCampaign], None] | None = None
        self._finished: dict[int, sa.Row[Any]] = {}
        self._told: dict[str, Told] = {}
        self._lost: set[int] = set()
        self._sealing: set[int] = set()
        self._seal_tried: set[int] = set()

    async def begin(self, at_work: Container[int]) -> None:
        """Begin a new stream: ask for what ended lately beside the campaigns ``at_work``."""
        self._told.clear()
        rows = await self._store.read(partial(campaigns.finished_lately, days=self._replay_days))
        for number in self._finished:
            if number not in at_work:
                self._backlog.remove(number)
        self._finished = {row.campaign: row for row in rows if row.campaign not in at_work}
        for number in self._finished:
            self._backlog.add(number, [])

    def campaign_id(self, campaign: int) -> str:
        """Return the id of a campaign that ended lately."""
        return str(self._finished[campaign].campaign_id)

    def note_told(self, response: pb.ReportResultsResponse) -> None:
        """Note what is new to the stream; it stays true of what was before its pages."""
        for told in response.campaign_states:
            self._told[told.campaign_id] = Told(
                wire.state_of(told.state), told.processed, told.revision
            )

    async def subscribed(self, campaign: int, active: ActiveCampaign | None) -> None:
        """Judge a campaign whose subscription was answered; ``active`` None: it ended.

        No page of it went out on this stream before, so none is counted in the answer.
        """
        row = self._finished.get(campaign) if active is None else active.row
        if row is None:
            return
        told = self._told.get(row.campaign_id)
        if told is None:
            self._backlog.admit(campaign)  # no answer to judge by
            return
        # The number holds for the first answer only: afterwards it lacks what this
        # stream brought.
        self._told[row.campaign_id] = told._replace(processed=row.total)
        if active is not None and told.state is not None:
            active.receive(told.state, told.revision)
        await self._judge(row, active, told)

    def is_missing(self, campaign: int, active: ActiveCampaign | None) -> bool:
        """Return whether a campaign was last told to be unknown or without its seal."""
        row = self._finished.get(campaign) if active is None else active.row
        told = None if row is None else self._told.get(row.campaign_id)
        return told is not None and not told.is_sealed

    async def not_there(self, campaign: int, active: ActiveCampaign | None) -> bool:
        """Note that frames are rejected for a reason of :data:`NOT_THERE`.

        True: it is brought back by that, or is being brought back. False: it was sealed
        again, or that was tried, and they are rejected still.
        """
        row = self._finished.get(campaign) if active is None else active.row
        if row is None:
            return False
        if campaign in self._sealing:
            return True
        tried = campaign in self._seal_tried
        await self._judge(row, active, Told(None, 0))
        return not tried

    async def _judge(self, row: sa.Row[Any], active: ActiveCampaign | None, told: Told) -> None:
        campaign: int = row.campaign
        finished = active is None
        acknowledged = row.total if finished else self._backlog.acknowledged(campaign)
        if not told.lacks(acknowledged=acknowledged, finished=finished):
            if finished:
                self._leave(campaign)
            else:
                self._backlog.admit(campaign)
            return
        if campaign not in self._lost:
            self._lost.add(campaign)
            log.warning(
                "status_store_lost_results",
                campaign_id=row.campaign_id,
                acknowledged=acknowledged,
                processed=told.processed,
            )
        await self._acknowledgements.bring_back(campaign)
        if active is None or campaign not in self._backlog:
            self._leave(campaign)
            await self.take_up_open()
            return
        self._backlog.report_again(campaign)
        if told.is_sealed:
            self._backlog.admit(campaign)
        elif campaign not in self._sealing and self.seal is not None:
            self._sealing.add(campaign)
            self._seal_tried.add(campaign)
            self.seal(active)

    def _leave(self, campaign: int) -> None:
        """Ask no more for a campaign that ended, on this stream."""
        self._finished.pop(campaign, None)
        self._backlog.remove(campaign)

    async def take_up_open(self) -> None:
        """Have what was brought back worked on."""
        if self.take_up is not None:
            await self.take_up()

    def sealing_ended(self, campaign: int) -> None:
        """Note that the try to seal a campaign again is over, however it ended."""
        self._sealing.discard(campaign)

    def regained(self, campaign: int) -> None:
        """Note that the status service takes the results of a campaign."""
        self._lost.discard(campaign)
        self._seal_tried.discard(campaign)
