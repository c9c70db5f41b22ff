"""What became of the start of a campaign, in words, with the ways on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from closeout.status.v1 import status_pb2
from closeout_cli.campaign_ids import next_id
from closeout_cli.start_request import StartRequest, described, known_campaign
from closeout_cli.watch_views import TERMINAL
from closeout_cli.words import number

if TYPE_CHECKING:
    from typing import Self

    from closeout.sender.v1 import sender_pb2


@dataclass(frozen=True)
class Started:
    """A campaign that a command has started, or found started.

    Attributes:
        campaign_id: the campaign.
        total: how many messages it has.
        left_out: how many of them are not sent, as their people got an earlier one.
        transitioned: whether the command changed anything.
        campaign: the campaign afterwards; None: the status service did not say.
        outcome: what became of the start, for people.
    """

    campaign_id: str
    total: int
    left_out: int
    transitioned: bool
    campaign: status_pb2.Campaign | None
    outcome: str

    @classmethod
    async def of(
        cls,
        campaign_id: str,
        request: StartRequest,
        before: status_pb2.Campaign | None,
        answer: sender_pb2.StartCampaignResponse,
        status_address: str,
    ) -> Self:
        """Return what an answer to StartCampaign means.

        Args:
            campaign_id: the campaign.
            request: what was requested.
            before: the campaign before it; None: not known, or there was none.
            answer: the answer.
            status_address: where to look how the campaign is afterwards.
        """
        after = await known_campaign(campaign_id, status_address)
        outcome = described(request, before, after, transitioned=answer.transitioned)
        return cls(campaign_id, answer.total, answer.left_out, answer.transitioned, after, outcome)

    @property
    def ended(self) -> bool:
        """Whether the campaign has ended already."""
        return self.campaign is not None and self.campaign.state in TERMINAL

    def lines(self) -> list[str]:
        """Return what became of it for people."""
        if not self.transitioned:
            return [self.outcome, *self._once_more()]
        lines = [f"{self.outcome}: {number(self.total, 'message')}"]
        if self.left_out:
            who = "is left out: this person" if self.left_out == 1 else "are left out: these people"
            lines.append(f"{self.left_out:,} of them {who} got an earlier one, or will")
        return lines

    def next_steps(self) -> list[str]:
        """Return how to follow and to stop it, while it goes on."""
        if self.ended:
            return []
        return [
            f"follow it: closeout watch {self.campaign_id}",
            f"stop it: closeout cancel {self.campaign_id}",
        ]

    def _once_more(self) -> list[str]:
        """Return how to do it again after all, where it was done before."""
        if self.campaign is None or self.campaign.state != status_pb2.Campaign.COMPLETED:
            return []
        again = next_id(self.campaign_id)
        return [f"to send it to the same people once more: --again --campaign-id {again}"]
