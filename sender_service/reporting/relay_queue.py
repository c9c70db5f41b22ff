"""What is still to be reported, without a database or a network.

For each shard: how many entries its outbox has, how far they were sent on the present
stream, and how far they are acknowledged. A broken stream sets "sent" back to
"acknowledged", and a rejected page does so for its shard. Nothing else is sent twice.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sender_service.reporting.relayed_campaign import RelayedCampaign, RelayedShard
from sender_service.reporting.subscription import Event, Subscription, after
from sender_service.store.outbox import ShardKey, ShardProgress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sender_service.domain import Problem


class Page(NamedTuple):
    """Entries ``after`` + 1 .. ``through`` of a shard."""

    key: ShardKey
    after: int
    through: int

    @property
    def size(self) -> int:
        """How many entries it has."""
        return self.through - self.after


class Frame(NamedTuple):
    """What a frame carries: a page of a campaign, its problems, or a request of its state.

    ``problems`` is None but in a frame with problems alone. ``is_probe`` is true of one
    that only wants an answer, whatever that says.
    """

    campaign: RelayedCampaign
    page: Page | None
    problems: tuple[Problem, ...] | None = None
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What an answer of the status service acknowledges.

    Attributes:
        frames: how many frames.
        reported: how many entries of each shard are acknowledged now.
        accepted: campaigns of which a page was accepted.
        answered: campaigns whose state was requested and is answered.
        rejected: campaigns of which a frame was rejected while that is news, each with
            the number of the first such frame.
        unheard: campaigns whose problems were rejected, each with the number of the frame.
    """

    frames: int
    reported: dict[ShardKey, int] = field(default_factory=dict)
    accepted: dict[RelayedCampaign, None] = field(default_factory=dict)
    answered: list[RelayedCampaign] = field(default_factory=list)
    rejected: dict[RelayedCampaign, int] = field(default_factory=dict)
    unheard: dict[RelayedCampaign, int] = field(default_factory=dict)


class RelayQueue:
    """Pages to be reported, campaign by campaign in turn.

    Args:
        page_size: entries of a page.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._campaigns: dict[int, RelayedCampaign] = {}
        #: Campaigns that may have a frame to send, first come, first served.
        self._turns: OrderedDict[RelayedCampaign, None] = OrderedDict()
        self._in_flight: deque[tuple[int, Frame]] = deque()

    @property
    def is_empty(self) -> bool:
        """True when there is no campaign to report, or to ask about."""
        return not self._campaigns

    @property
    def in_flight(self) -> int:
        """How many frames wait for their acknowledgement."""
        return len(self._in_flight)

    @property
    def unreported(self) -> int:
        """How many entries are not acknowledged; costs a look at every shard."""
        return sum(campaign.unreported for campaign in self._campaigns.values())

    def find(self, campaign: int) -> RelayedCampaign | None:
        """Return a campaign, if it is reported."""
        return self._campaigns.get(campaign)

    def add(self, campaign: int, campaign_id: str, progress: Iterable[ShardProgress]) -> None:
        """Report a campaign whose shards are so far.

        A campaign that is reported already keeps its pages in flight.
        """
        added = self._campaigns.get(campaign)
        if added is None or added.ended_total is not None:
            added = self._campaigns[campaign] = RelayedCampaign(campaign, campaign_id)
        for key, journaled, reported in progress:
            if key.shard in added.shards:
                self.journaled(key, journaled)
                continue
            added.shards[key.shard] = RelayedShard(journaled, reported, reported)
            if reported < journaled:
                added.unsent[key.shard] = None
        self._turns[added] = None

    def add_ended(self, campaign: int, campaign_id: str, total: int) -> None:
        """Request the state of a campaign that ended lately with ``total`` messages."""
        added = RelayedCampaign(campaign, campaign_id, ended_total=total)
        self._campaigns[campaign] = added
        self._turns[added] = None

    def remove(self, campaign: int) -> None:
        """Forget a campaign."""
        self._campaigns.pop(campaign, None)

    def remove_ended(self) -> None:
        """Forget the campaigns that are not at work."""
        for campaign in list(self._campaigns.values()):
            if campaign.ended_total is not None:
                self.remove(campaign.number)

    def journaled(self, key: ShardKey, through: int) -> None:
        """Note that the outbox of a shard has ``through`` entries, or more by now."""
        campaign = self._campaigns.get(key.campaign)
        shard = None if campaign is None else campaign.shards.get(key.shard)
        if campaign is None or shard is None:
            return
        shard.journaled = max(shard.journaled, through)
        self._offer(campaign, key.shard)

    def apply(self, campaign: RelayedCampaign, event: Event, *, until: float = 0.0) -> None:
        """Bring a campaign to the state that an event leads to; HELD lasts ``until``.

        Raises:
            ImpossibleEventError: its state does not know the event.
        """
        before, campaign.state = campaign.state, after(campaign.state, event)
        if campaign.state is not before:
            campaign.held_until = until
            self._turns[campaign] = None

    def next_frame(self, now: float) -> Frame | None:
        """Return what to send next; None if nothing is due.

        Campaigns take turns, so that a large one does not hold up the others.
        """
        for _ in range(len(self._turns)):
            campaign, _ = self._turns.popitem(last=False)
            if self._campaigns.get(campaign.number) is not campaign:
                continue
            if campaign.state is Subscription.HELD:
                if campaign.held_until > now:
                    self._turns[campaign] = None
                    continue
                campaign.state = after(campaign.state, Event.HOLD_OVER)
            if campaign.has_frame:
                frame = self._frame_of(campaign)
                if campaign.has_frame:
                    self._turns[campaign] = None
                return frame
        return None

    def _frame_of(self, campaign: RelayedCampaign) -> Frame:
        if campaign.state is Subscription.UNSUBSCRIBED:
            campaign.state = after(campaign.state, Event.REQUESTED)
            return Frame(campaign, None)
        key = ShardKey(campaign.number, next(iter(campaign.unsent)))
        shard = campaign.shards[key.shard]
        page = Page(key, shard.sent, min(shard.sent + self._page_size, shard.journaled))
        shard.sent = page.through
        # Counted before the page is written: an answer may come in between, and what it
        # does to the pages before concerns this one as well.
        shard.in_flight += 1
        if shard.sent == shard.journaled:
            del campaign.unsent[key.shard]
        return Frame(campaign, page)

    def sent(self, number: int, frame: Frame) -> None:
        """Note that ``frame`` goes out with this number."""
        self._in_flight.append((number, frame))

    def acknowledge(self, through: int, rejections: Collection[int]) -> Acknowledged:
        """Note that every frame up to ``through`` is stored, or in ``rejections``."""
        acknowledged = Acknowledged(sum(number <= through for number, _ in self._in_flight))
        while self._in_flight and self._in_flight[0][0] <= through:
            number, (campaign, page, problems, is_probe) = self._in_flight.popleft()
            if is_probe:
                continue
            if problems is not None:
                if number in rejections:
                    acknowledged.unheard[campaign] = number
                continue
            if self._campaigns.get(campaign.number) is not campaign:
                continue  # the campaign was finished, and perhaps begun again
            rejected = number in rejections
            if page is not None:
                self._acknowledge_page(campaign, page, acknowledged, rejected=rejected)
            elif not rejected:
                acknowledged.answered.append(campaign)
            awaited = Subscription.REQUESTED if page is None else Subscription.ADMITTED
            if rejected and campaign.state is awaited:
                acknowledged.rejected.setdefault(campaign, number)
        return acknowledged

    def _acknowledge_page(
        self, campaign: RelayedCampaign, page: Page, acknowledged: Acknowledged, *, rejected: bool
    ) -> None:
        shard = campaign.shards[page.key.shard]
        shard.in_flight -= 1
        shard.broken = shard.broken or rejected
        if not rejected:
            acknowledged.accepted[campaign] = None
        if not shard.broken:
            shard.reported = page.through
            acknowledged.reported[page.key] = page.through
        elif shard.in_flight == 0:
            shard.broken = False
            shard.sent = shard.reported
            self._offer(campaign, page.key.shard)

    def next_hold_over(self, now: float) -> float | None:
        """Return when the next held campaign may go on; None if none waits."""
        waiting = [
            campaign.held_until
            for campaign in self._turns
            if campaign.state is Subscription.HELD and campaign.held_until > now
        ]
        return min(waiting, default=None)

    def begin_stream(self) -> None:
        """Begin a new stream: request every state, then send what is not acknowledged."""
        self._in_flight.clear()
        self._turns.clear()
        for campaign in self._campaigns.values():
            campaign.state = after(campaign.state, Event.STREAM_BEGAN)
            for number, shard in campaign.shards.items():
                shard.restart()
                if shard.sent < shard.journaled:
                    campaign.unsent[number] = None
            self._turns[campaign] = None

    def report_all_again(self) -> None:
        """Begin with the first entry of every shard; call :meth:`begin_stream` next."""
        for campaign in self._campaigns.values():
            for shard in campaign.shards.values():
                shard.reported = 0

    def report_again(self, campaign: RelayedCampaign) -> None:
        """Begin with the first entry of every shard of a campaign, on the present stream.

        Pages in flight do not count, since those before them may be lost.
        """
        for number, shard in campaign.shards.items():
            shard.reported = 0
            shard.broken = shard.in_flight > 0
            if not shard.broken:
                shard.sent = 0
                self._offer(campaign, number)

    def discard(self, campaign: RelayedCampaign) -> dict[ShardKey, int]:
        """Count all entries that a campaign has by now as acknowledged; return how many of each.

        Pages in flight are rejected, and are not sent again.
        """
        campaign.unsent.clear()
        for shard in campaign.shards.values():
            shard.reported = shard.sent = shard.journaled
        return {
            ShardKey(campaign.number, number): shard.reported
            for number, shard in campaign.shards.items()
        }

    def _offer(self, campaign: RelayedCampaign, shard: int) -> None:
        relayed = campaign.shards[shard]
        if not relayed.broken and relayed.sent < relayed.journaled:
            campaign.unsent[shard] = None
            self._turns[campaign] = None
