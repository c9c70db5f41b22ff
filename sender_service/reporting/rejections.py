"""What the status service refuses of a campaign: held back, told once, and sent again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from sender_service.domain import Backoff
from sender_service.reporting.reconciliation import NOT_THERE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from closeout.status.v1 import status_pb2 as pb
    from sender_service.campaigns.directory import ActiveCampaign
    from sender_service.reporting.reconciliation import Recovery
    from sender_service.reporting.relay_queue import Acknowledged, Backlog
    from service_runtime.database import Store

log = structlog.get_logger()

_SOURCE = "report"
#: Between two tries to report what was refused.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 60.0


class Refusals:
    """The campaigns whose results are refused, and how long each of them waits.

    A refusal is logged as an error once, shown to the operator by GetDelivery, and
    cleared when results of the campaign are taken again.

    Args:
        store: the sender's.
        backlog: what is to be reported.
        recovery: brings back what is refused because the status service lost it.
    """

    def __init__(self, store: Store, backlog: Backlog, recovery: Recovery) -> None:
        self._store = store
        self._backlog = backlog
        self._recovery = recovery
        self._waits: dict[int, Backoff] = {}
        #: Sealed again since their results were last taken.
        self._sealed: set[int] = set()

    async def note(
        self,
        acknowledged: Acknowledged,
        rejections: Mapping[int, pb.ReportResultsResponse.FrameRejection],
        campaigns: Mapping[int, ActiveCampaign],
    ) -> None:
        """Note what an answer refuses, and what it takes.

        Args:
            acknowledged: the frames it answers.
            rejections: its rejections, by frame.
            campaigns: those at work.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        refused: dict[int, pb.ReportResultsResponse.FrameRejection] = {}
        for number, campaign in acknowledged.rejected.items():
            refused.setdefault(campaign, rejections[number])
        for campaign, rejection in refused.items():
            await self._refused(campaign, rejection, campaigns.get(campaign))
        for campaign in acknowledged.accepted - refused.keys():
            if not self._recovery.is_missing(campaign, campaigns.get(campaign)):
                await self._taken(campaign, campaigns.get(campaign))

    async def _refused(
        self,
        campaign: int,
        rejection: pb.ReportResultsResponse.FrameRejection,
        active: ActiveCampaign | None,
    ) -> None:
        self.hold(campaign)
        lost = rejection.rejection.reason in NOT_THERE
        if (lost and await self._recovery.not_there(campaign, active)) or active is None:
            return
        problem = f"the status service refuses results: {rejection.rejection.message}"
        if await active.tell(self._store, _SOURCE, problem):
            log.error(
                "results_refused",
                campaign_id=rejection.campaign_id,
                reason=rejection.rejection.reason,
                error=rejection.rejection.message,
                action="they are kept and sent again; see the status service",
            )

    async def _taken(self, campaign: int, active: ActiveCampaign | None) -> None:
        self._recovery.regained(campaign)
        self.forget(campaign)
        if active is not None and await active.tell(self._store, _SOURCE, ""):
            log.info("results_taken_again", campaign_id=active.campaign_id)

    def sealing_ended(self, campaign: int, *, sealed: bool) -> None:
        """Ask for a campaign again after a try to seal it: at once if it was ``sealed``.

        That is so once. Where results are refused after it, or the seal is missing
        still, another seal does not help, and each further try waits as well.
        """
        self._recovery.sealing_ended(campaign)
        if sealed and campaign not in self._sealed:
            self._sealed.add(campaign)
            self._backlog.hold(campaign, 0.0)
        else:
            self.hold(campaign)
        self._backlog.subscribe_again(campaign)

    def hold(self, campaign: int) -> None:
        """Send nothing of a campaign for a while, each time for longer.

        Frames that were in flight when it began are refused as well: that is no new
        refusal, and makes the wait no longer.
        """
        wait = self._waits.setdefault(
            campaign,
            Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS),
        )
        now = time.monotonic()
        if not self._backlog.is_held(campaign, now):
            self._backlog.hold(campaign, now + wait.next_seconds())

    def forget(self, campaign: int) -> None:
        """Forget a campaign of which nothing is left to report."""
        self._waits.pop(campaign, None)
        self._sealed.discard(campaign)
