"""Back off and retry what the status service rejects; log each rejection once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sender_service.campaigns.directory import Source
from sender_service.domain import MAX_DETAIL, Backoff, Problem, ProblemKind
from sender_service.reporting.subscription import Event, Subscription

if TYPE_CHECKING:
    from closeout.status.v1 import status_pb2 as pb
    from sender_service.campaigns.directory import Directory
    from sender_service.reporting.relay_queue import RelayQueue
    from sender_service.reporting.relayed_campaign import RelayedCampaign

log = structlog.get_logger()

#: Between two tries to report what was rejected, seconds.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 60.0


def _backoff() -> Backoff:
    return Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS)


@dataclass(slots=True)
class _Trouble:
    """What went wrong with a campaign since results of it were last accepted."""

    waits: Backoff = field(default_factory=_backoff)
    loss_logged: bool = False
    seals_requested: int = 0
    #: The reasons that were logged while the campaign was not at work.
    logged: set[str] = field(default_factory=set)


class Rejections:
    """The campaigns of which something is rejected, and how long each of them waits.

    A rejection is shown to the operator by GetDelivery, logged once, as a warning where
    it may pass by itself and as an error where it does not, and cleared when results of
    the campaign are accepted again.

    Args:
        queue: what is to be reported.
        directory: the campaigns at work.
    """

    def __init__(self, queue: RelayQueue, directory: Directory) -> None:
        self._queue = queue
        self._directory = directory
        self._troubles: dict[int, _Trouble] = {}

    def _trouble(self, campaign: int) -> _Trouble:
        return self._troubles.setdefault(campaign, _Trouble())

    def is_first_loss(self, campaign: RelayedCampaign) -> bool:
        """Note a loss of results; False if one was noted since results were accepted."""
        trouble = self._trouble(campaign.number)
        before, trouble.loss_logged = trouble.loss_logged, True
        return not before

    def is_new_seal_in_vain(self, campaign: RelayedCampaign) -> bool:
        """Return whether a new seal was requested since results were last accepted."""
        return self._trouble(campaign.number).seals_requested > 0

    def seal_requested(self, campaign: RelayedCampaign) -> None:
        """Note that delivery is to seal a campaign again."""
        self._trouble(campaign.number).seals_requested += 1

    def hold(self, campaign: RelayedCampaign, event: Event) -> None:
        """Send nothing of a campaign for a while, each time for longer."""
        wait = self._trouble(campaign.number).waits.next_seconds()
        self._queue.apply(campaign, event, until=time.monotonic() + wait)

    async def show(self, campaign: RelayedCampaign, rejection: pb.Rejection) -> None:
        """Log a rejection and show it to the operator, once.

        That of a campaign that is not at work, since it ended lately, is only logged.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        active = self._directory.find(campaign.number)
        if active is None:
            logged = self._trouble(campaign.number).logged
            if rejection.reason not in logged:
                logged.add(rejection.reason)
                _log(campaign, rejection, "its state is requested again")
            return
        problem = Problem(
            ProblemKind.RESULTS_REJECTED,
            "the status service rejects results",
            detail=f"{rejection.reason}: {rejection.message}"[:MAX_DETAIL],
            needs_attention=not rejection.retryable,
        )
        if await self._directory.set_problem(active, Source.RESULTS, problem):
            _log(campaign, rejection, "they are kept and reported again")

    async def accepted(self, campaign: RelayedCampaign) -> None:
        """Note that results of a campaign are accepted, or that none is left to accept.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if campaign.state is not Subscription.ADMITTED:
            return  # these results were sent before the last rejection
        self.forget(campaign.number)
        active = self._directory.find(campaign.number)
        if active is not None and await self._directory.set_problem(active, Source.RESULTS, None):
            log.info("results_accepted_again", campaign_id=campaign.campaign_id)

    def resealed(self, campaign: RelayedCampaign, *, sealed: bool) -> None:
        """Request the state of a campaign after a try to seal it: at once if that helps.

        Where the first try failed, or results are rejected after it, each further try
        waits.
        """
        if sealed and self._trouble(campaign.number).seals_requested <= 1:
            self._queue.apply(campaign, Event.SEALED)
        else:
            self.hold(campaign, Event.SEAL_DID_NOT_HELP)

    def forget(self, campaign: int) -> None:
        """Forget what went wrong with a campaign."""
        self._troubles.pop(campaign, None)


def _log(campaign: RelayedCampaign, rejection: pb.Rejection, action: str) -> None:
    (log.warning if rejection.retryable else log.error)(
        "results_rejected",
        campaign_id=campaign.campaign_id,
        reason=rejection.reason,
        error=rejection.message,
        action=f"{action}; see the status service",
    )
