"""Notice that the status service lost results it had acknowledged, and bring them back.

A status database that was restored from a backup has the identity of that backup. So
each new stream requests the state of every campaign that may be concerned, and compares
it with what was acknowledged before. Lost results are in the outbox and are reported
again; no message is sent again for that.

Results of other reporters count at the status service as well and can hide a loss from
the comparison of counts. A campaign that ended here shows the loss nevertheless: it had
a result for every message, so it must have ended at the status service.

Of those that ended, a stream requests the last FIRST_BLOCK only, however many there are: a
database that went back lost what was written last. What ended before a whole block of
others was acknowledged before the last results of some of them were sent, so it is not lost
while they are there. Where something is lost, the next block is requested as well, twice as
large, until one lacks nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sender_service.campaigns.directory import Decision
from sender_service.domain import State
from sender_service.reporting import wire
from sender_service.reporting.subscription import Event
from sender_service.store import campaigns

if TYPE_CHECKING:
    from closeout.status.v1 import status_pb2 as pb
    from sender_service.campaigns.directory import Directory
    from sender_service.reporting.acknowledgements import Acknowledgements
    from sender_service.reporting.rejections import Rejections
    from sender_service.reporting.relay_queue import RelayQueue
    from sender_service.reporting.relayed_campaign import RelayedCampaign
    from service_runtime.database import Store

log = structlog.get_logger()


#: Campaigns that a new stream requests first, those that ended last; a power of two above
#: twice the frames of a stream in flight.
FIRST_BLOCK = 64
#: How much larger each further block is.
_GROWTH = 2


class Standing(NamedTuple):
    """How a campaign stands at the status service; ``state`` None: it is unknown."""

    state: State | None
    revision: int
    processed: int

    @property
    def is_sealed(self) -> bool:
        """True where results are accepted: every campaign at work was sealed once."""
        return self.state not in {None, State.DRAFT}

    def lacks(self, *, acknowledged: int, ended: bool) -> bool:
        """Return whether something is lost that the status service once had.

        Args:
            acknowledged: how many outcomes it acknowledged before it had this standing.
            ended: true if it acknowledged one for every message.
        """
        if self.state is None or not self.is_sealed:
            return True
        return self.processed < acknowledged or (ended and not self.state.is_terminal)


_UNKNOWN = Standing(None, 0, 0)
#: Why a frame is rejected whose campaign, or the seal of it, the status service lost.
_LOST = frozenset({"CAMPAIGN_NOT_FOUND", "CAMPAIGN_NOT_SEALED"})
#: Why a frame is rejected whose results nobody wants any more, for good.
_UNWANTED = frozenset({"CAMPAIGN_DELETED", "RESULTS_REMOVED"})


class Reconciliation:
    """Compares what the status service has with what it acknowledged, stream by stream.

    Args:
        store: the sender's.
        queue: what is to be reported.
        acknowledgements: written down as they come.
        rejections: what went wrong with a campaign so far.
        directory: takes the decisions.
        organisation: whose campaigns they are.
        replay_days: how long after its end the state of a campaign is requested.
    """

    def __init__(
        self,
        store: Store,
        queue: RelayQueue,
        acknowledgements: Acknowledgements,
        rejections: Rejections,
        directory: Directory,
        *,
        organisation: str,
        replay_days: int,
    ) -> None:
        self._organisation = organisation
        self._store = store
        self._queue = queue
        self._acknowledgements = acknowledgements
        self._rejections = rejections
        self._directory = directory
        self._replay_days = replay_days
        self._standings: dict[str, Standing] = {}
        #: Campaigns whose first answer on this stream was compared.
        self._compared: set[int] = set()
        #: Ended campaigns whose first answer on this stream is awaited.
        self._awaited: set[int] = set()
        self._reopened = False
        #: Whether the present block lacks something, how large it is, and what is before it.
        self._block_lacks = False
        self._block = FIRST_BLOCK
        self._before: campaigns.EndedBefore | None = None

    @property
    def is_settled(self) -> bool:
        """True when no answer about a campaign that has ended is awaited or to be requested."""
        return not self._awaited and not self._block_lacks

    async def begin_stream(self) -> None:
        """Request the state of the campaigns that ended last, beside those at work.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        self._standings.clear()
        self._compared.clear()
        self._queue.remove_ended()
        self._block, self._before = FIRST_BLOCK, None
        await self._request_block()
        self._reopen()

    async def _request_block(self) -> None:
        """Request the states of those that ended before what was requested so far."""
        ended = await self._store.read(
            partial(
                campaigns.finished_lately,
                organisation=self._organisation,
                days=self._replay_days,
                before=self._before,
                limit=self._block,
            )
        )
        rows = [row for row in ended if self._queue.find(row.campaign) is None]
        for row in rows:
            self._queue.add_ended(row.campaign, row.campaign_id, row.total)
        self._awaited = {row.campaign for row in rows}
        self._block_lacks = False
        if ended:
            self._before = campaigns.EndedBefore(ended[-1].finish_time, ended[-1].campaign)
        self._block *= _GROWTH

    def receive(self, received: pb.CampaignState) -> None:
        """Take what a stream brought of a campaign; what is not newer changes nothing."""
        state, revision = wire.state_of(received.state), received.revision
        known = self._standings.get(received.campaign_id)
        if known is None or revision > known.revision:
            standing = Standing(state, revision, received.processed)
            self._standings[received.campaign_id] = standing
        changed = self._directory.receive(self._organisation, received.campaign_id, state, revision)
        if changed is not None:
            self._acknowledgements.add_state(changed.number, state)

    async def compare(self, campaign: RelayedCampaign) -> None:
        """Compare the answer to a request with what was acknowledged before.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        standing = self._standings.get(campaign.campaign_id)
        if standing is not None and standing.state is not None:
            # The state may have come before the campaign was at work.
            self._directory.receive(
                self._organisation, campaign.campaign_id, standing.state, standing.revision
            )
        ended = campaign.ended_total is not None
        # Only the first answer counts what was acknowledged before this stream and no
        # more; a later one may be older than results of this stream.
        is_first = ended or campaign.number not in self._compared
        acknowledged = campaign.acknowledged if is_first else 0
        self._compared.add(campaign.number)
        if standing is not None and standing.lacks(acknowledged=acknowledged, ended=ended):
            await self._bring_back(campaign, standing, acknowledged=acknowledged)
        elif ended:
            if self._queue.find(campaign.number) is campaign:
                self.finish(campaign.number)
        else:
            self._queue.apply(campaign, Event.ANSWERED)
            if not campaign.unreported:
                await self._rejections.accepted(campaign)
        await self._note_answer(campaign)

    async def rejected(self, campaign: RelayedCampaign, rejection: pb.Rejection) -> None:
        """Bring a campaign back if it is rejected as lost, otherwise hold it back.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if rejection.reason in _UNWANTED:
            await self._discard(campaign, rejection)
            return
        explained = False
        if rejection.reason == "CAMPAIGN_NOT_FOUND":
            # One that is registered again begins with revision 1.
            self._standings.pop(campaign.campaign_id, None)
            self._directory.forget_revision(self._organisation, campaign.campaign_id)
        if rejection.reason in _LOST:
            explained = not self._rejections.is_new_seal_in_vain(campaign)
            await self._bring_back(campaign, _UNKNOWN, acknowledged=campaign.acknowledged)
        else:
            self._rejections.hold(campaign, Event.REJECTED)
        await self._note_answer(campaign)
        if not explained:
            await self._rejections.show(campaign, rejection)

    async def _discard(self, campaign: RelayedCampaign, rejection: pb.Rejection) -> None:
        """Report nothing more of a campaign that was deleted, or whose results are not kept.

        One at work ends as if it was cancelled; what it finds out until then counts as
        reported.
        """
        active = self._directory.find(campaign.number)
        if active is None or campaign.ended_total is not None:
            self._leave(campaign)
            await self._note_answer(campaign)
            return
        log.info(
            "campaign_results_discarded", campaign_id=campaign.campaign_id, reason=rejection.reason
        )
        self._directory.forget_revision(self._organisation, campaign.campaign_id)
        self._directory.receive(
            self._organisation, campaign.campaign_id, State.CANCELLED, active.revision
        )
        self._acknowledgements.add(self._queue.discard(campaign))
        self._acknowledgements.add_complete(campaign.number)
        self._rejections.hold(campaign, Event.REJECTED)
        await self._note_answer(campaign)

    def finish(self, campaign: int) -> None:
        """Report a campaign no more, and forget what this stream brought of it."""
        reported = self._queue.find(campaign)
        if reported is not None:
            self._standings.pop(reported.campaign_id, None)
            self._queue.remove(campaign)
        self._compared.discard(campaign)
        self._rejections.forget(campaign)

    async def _bring_back(
        self, campaign: RelayedCampaign, standing: Standing, *, acknowledged: int
    ) -> None:
        """Report all results of a campaign again, and have it sealed where that is lost."""
        self._queue.apply(campaign, Event.LOSS_FOUND)
        if self._rejections.is_first_loss(campaign):
            log.warning(
                "status_store_lost_results",
                campaign_id=campaign.campaign_id,
                acknowledged=acknowledged,
                processed=standing.processed,
            )
        await self._acknowledgements.bring_back(campaign.number)
        active = self._directory.find(campaign.number)
        if active is None or self._queue.find(campaign.number) is not campaign:
            # The campaign has ended, perhaps just now, and is open again in the store.
            self._leave(campaign)
            self._reopened = True
            self._block_lacks = self._block_lacks or campaign.ended_total is not None
            return
        self._queue.report_again(campaign)
        if standing.is_sealed:
            self._queue.apply(campaign, Event.BROUGHT_BACK)
        else:
            self._queue.apply(campaign, Event.SEAL_REQUESTED)
            self._rejections.seal_requested(campaign)
            self._directory.decide(Decision.RESEAL, active)

    async def _note_answer(self, campaign: RelayedCampaign) -> None:
        """Note that an ended campaign is not waited for any more on this stream.

        Delivery looks once for all of a block that were brought back, when the last answer is
        in: a look reads every open campaign.
        """
        self._awaited.discard(campaign.number)
        if self._awaited:
            return
        if self._block_lacks:
            await self._request_block()
        self._reopen()

    def reopen_all(self) -> None:
        """Have every campaign worked on that the store has as open."""
        self._reopened = True
        self._reopen()

    def _reopen(self) -> None:
        if self._reopened:
            self._reopened = False
            self._directory.decide(Decision.REOPEN)

    def _leave(self, campaign: RelayedCampaign) -> None:
        """Report a campaign no more, unless it was begun again meanwhile."""
        if self._queue.find(campaign.number) is campaign:
            self._queue.remove(campaign.number)
