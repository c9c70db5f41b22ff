"""What the status service is to know about what holds campaigns up.

The frame that requests the state of a campaign at work carries its problems, also when
there are none: so what an earlier process reported is gone. Each change after that goes
in a frame of its own, without results, which leaves the campaign where it is on the stream.
A campaign that is only frozen yet is not reported otherwise; its problems are, since one of
them may be that it can't be started.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from sender_service.domain import Backoff, ProblemKind
from sender_service.reporting.relay_queue import Frame
from sender_service.reporting.relayed_campaign import RelayedCampaign
from sender_service.reporting.subscription import Subscription

if TYPE_CHECKING:
    from closeout.status.v1 import status_pb2 as pb
    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.domain import Problem
    from sender_service.reporting.relay_queue import RelayQueue

log = structlog.get_logger()

#: Between two tries to report problems that were rejected for now, seconds.
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 1.0, 60.0
#: The shortest time between two changes of one campaign's problems that are reported,
#: seconds: what a provider says may differ with each message.
_BETWEEN_SECONDS = 0.5
#: Who reads of them at the status service can see that they are over.
_UNTRUE_WHERE_READ = frozenset(
    {ProblemKind.STATUS_SERVICE_UNREACHABLE, ProblemKind.STATUS_SERVICE_REFUSES}
)
#: Where nothing goes out: either the next request of the state carries the problems, or
#: the campaign goes on before it.
_SILENT = frozenset({Subscription.UNSUBSCRIBED, Subscription.REPLAYING, Subscription.RESEALING})


class ProblemReports:
    """The problems that are to be reported on the present stream.

    Args:
        queue: what else is reported, and where each campaign is on the stream.
        directory: the campaigns at work, which have the problems.
        organisation: whose stream it is.
    """

    def __init__(self, queue: RelayQueue, directory: Directory, organisation: str) -> None:
        self._queue = queue
        self._organisation = organisation
        self._directory = directory
        #: What was sent last, by the number of the campaign.
        self._sent: dict[int, tuple[Problem, ...]] = {}
        #: Campaigns whose problems may have changed, and when to report them at the earliest.
        self._due: dict[int, float] = {}
        #: Until when the next change of a campaign waits.
        self._paced: dict[int, float] = {}
        self._waits: dict[int, Backoff] = {}

    def begin_stream(self) -> None:
        """Begin a new stream, on which nothing is known.

        Of the campaigns in the queue the state is requested first, and the problems go with
        that: were they due as well, each frame would look at all of them.
        """
        self._sent.clear()
        self._waits.clear()
        self._due = {
            active.number: 0.0
            for active in self._directory.of(self._organisation)
            if self._queue.find(active.number) is None and _reported(active)
        }

    def changed(self, campaign: int) -> None:
        """Note that the problems of a campaign may have changed."""
        self._due[campaign] = self._paced.get(campaign, 0.0)

    def forget(self, campaign: int) -> None:
        """Forget a campaign that is not at work any more."""
        for kept in (self._sent, self._due, self._paced, self._waits):
            kept.pop(campaign, None)

    def beside_request(self, campaign: RelayedCampaign) -> tuple[Problem, ...] | None:
        """Return what goes with the request of a campaign's state; None if it has ended."""
        active = self._directory.find(campaign.number)
        if active is None or campaign.ended_total is not None:
            return None
        self._due.pop(campaign.number, None)
        self._sent[campaign.number] = _reported(active)
        return self._sent[campaign.number]

    def next_frame(self, now: float) -> Frame | None:
        """Return a frame with problems alone; None if none is due."""
        for number, earliest in list(self._due.items()):
            active = self._directory.find(number)
            if active is None:
                self.forget(number)
                continue
            relayed = self._queue.find(number)
            if earliest > now or (relayed is not None and relayed.state in _SILENT):
                continue
            del self._due[number]
            problems = _reported(active)
            if problems != self._sent.get(number):
                self._sent[number] = problems
                self._paced[number] = now + _BETWEEN_SECONDS
                campaign = relayed or RelayedCampaign(number, active.campaign_id)
                return Frame(campaign, None, problems)
        return None

    def next_time(self, now: float) -> float | None:
        """Return when the next rejected problems may be reported again; None if none waits."""
        return min((time for time in self._due.values() if time > now), default=None)

    def rejected(self, campaign: RelayedCampaign, rejection: pb.Rejection) -> None:
        """Report the problems of a campaign again: after a while where that may help.

        Otherwise with the next change, or with the next request of the campaign's state.
        """
        self._sent.pop(campaign.number, None)
        log.info(
            "problems_rejected",
            campaign_id=campaign.campaign_id,
            reason=rejection.reason,
            error=rejection.message,
        )
        if rejection.retryable and campaign.number not in self._due:
            wait = self._waits.setdefault(
                campaign.number,
                Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_MAX_WAIT_SECONDS),
            )
            self._due[campaign.number] = time.monotonic() + wait.next_seconds()


def _reported(active: ActiveCampaign) -> tuple[Problem, ...]:
    """Return the problems that the status service is to know, those for a person first.

    That it can't be reached is none of them: where it reads that, it is no longer true.
    """
    known = (problem for problem in active.problems if problem.kind not in _UNTRUE_WHERE_READ)
    return tuple(sorted(known, key=lambda problem: not problem.needs_attention))
