"""What is still to be reported, without a database or a network.

For each shard: how many entries its journal has, how far they were sent on the
present stream, and how far they are acknowledged. A broken stream sets "sent" back
to "acknowledged"; nothing else is ever sent again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sender_service.reporting.outstanding import Campaign, Shard
from sender_service.store.outbox import ShardKey, ShardProgress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Page(NamedTuple):
    """Entries ``after`` + 1 .. ``through`` of a shard."""

    key: ShardKey
    after: int
    through: int


class Frame(NamedTuple):
    """What a frame carries: a page of a campaign, or nothing, to subscribe to it."""

    campaign: int
    page: Page | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What an acknowledgement covers.

    Attributes:
        settled: how many frames.
        reported: how many entries of each shard are acknowledged now.
        accepted: campaigns whose results are taken: a page was, or none is left to take.
        subscribed: campaigns to which this stream is subscribed from now on.
        rejected: numbers of frames that were, with their campaigns. A campaign that
            is asked for again since is left out: that answer will tell.
    """

    settled: int
    reported: dict[ShardKey, int]
    accepted: set[int]
    subscribed: set[int]
    rejected: dict[int, int]


class Backlog:
    """Pages to be reported, campaign by campaign in turn.

    Args:
        page_size: entries of a page.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._campaigns: dict[int, Campaign] = {}
        #: Campaigns that may have something to send, first come, first served.
        self._turns: deque[int] = deque()
        self._in_flight: deque[tuple[int, Frame]] = deque()

    @property
    def in_flight(self) -> int:
        """How many frames wait for their acknowledgement."""
        return len(self._in_flight)

    @property
    def unreported(self) -> int:
        """How many entries are not acknowledged."""
        return sum(
            shard.journaled - shard.reported
            for campaign in self._campaigns.values()
            for shard in campaign.shards.values()
        )

    def __contains__(self, campaign: int) -> bool:
        """Return whether a campaign is taken up."""
        return campaign in self._campaigns

    def add(self, campaign: int, progress: Iterable[ShardProgress]) -> None:
        """Take up a campaign whose shards are so far.

        One that is taken up already keeps what is known of its pages in flight.
        """
        added = self._campaigns.setdefault(campaign, Campaign())
        for key, journaled, reported in progress:
            if key.shard in added.shards:
                self.journaled(key, journaled)
                continue
            added.shards[key.shard] = Shard(journaled, reported, reported)
            if reported < journaled:
                added.unsent[key.shard] = None
        self._take_turns(campaign)

    def remove(self, campaign: int) -> None:
        """Forget a campaign."""
        self._campaigns.pop(campaign, None)

    def journaled(self, key: ShardKey, through: int) -> None:
        """Note that the journal of a shard has ``through`` entries."""
        campaign = self._campaigns.get(key.campaign)
        if campaign is None or through <= campaign.shards[key.shard].journaled:
            return
        campaign.shards[key.shard].journaled = through
        self._offer(key)

    def next_frame(self, now: float) -> Frame | None:
        """Return what to send next; None if there is nothing now.

        Campaigns take turns, so that a large one does not hold up the others.
        """
        for _ in range(len(self._turns)):
            number = self._turns.popleft()
            campaign = self._campaigns.get(number)
            if campaign is None:
                continue
            if campaign.held_until > now:
                self._turns.append(number)
                continue
            frame = self._frame_of(number, campaign)
            if campaign.admitted and campaign.unsent:
                self._turns.append(number)
            if frame is not None:
                return frame
        return None

    def _frame_of(self, number: int, campaign: Campaign) -> Frame | None:
        if not campaign.subscribed:
            campaign.subscribed = True
            campaign.asking += 1
            return Frame(number, None)
        if not (campaign.admitted and campaign.unsent):
            return None
        key = ShardKey(number, next(iter(campaign.unsent)))
        shard = campaign.shards[key.shard]
        page = Page(key, shard.sent, min(shard.sent + self._page_size, shard.journaled))
        shard.sent = page.through
        # From now on and not from when it is written: an answer may come in between,
        # and what it does to the pages before this one concerns this one as well.
        shard.in_flight += 1
        if shard.sent == shard.journaled:
            del campaign.unsent[key.shard]
        return Frame(number, page)

    def sent(self, number: int, frame: Frame) -> None:
        """Note that ``frame`` goes out with this number."""
        self._in_flight.append((number, frame))

    def acknowledge(self, through: int, rejections: Collection[int]) -> Acknowledged:
        """Note that every frame up to ``through`` is stored, or in ``rejections``."""
        settled = sum(number <= through for number, _ in self._in_flight)
        acknowledged = Acknowledged(settled, {}, set(), set(), {})
        while self._in_flight and self._in_flight[0][0] <= through:
            number, frame = self._in_flight.popleft()
            campaign = self._campaigns.get(frame.campaign)
            if campaign is None:
                continue
            rejected = number in rejections
            if frame.page is None:
                campaign.asking -= 1
            is_current = not campaign.is_asked_again
            if rejected and is_current:
                acknowledged.rejected[number] = frame.campaign
            if frame.page is not None:
                self._settle(frame.page, acknowledged, rejected=rejected)
            elif rejected and is_current:
                self.subscribe_again(frame.campaign)
            elif is_current:
                acknowledged.subscribed.add(frame.campaign)
                if campaign.all_reported:
                    acknowledged.accepted.add(frame.campaign)
        return acknowledged

    def _settle(self, page: Page, acknowledged: Acknowledged, *, rejected: bool) -> None:
        shard = self._campaigns[page.key.campaign].shards[page.key.shard]
        shard.in_flight -= 1
        shard.broken = shard.broken or rejected
        if not rejected:
            acknowledged.accepted.add(page.key.campaign)
        if not shard.broken:
            shard.reported = page.through
            acknowledged.reported[page.key] = page.through
        elif shard.in_flight == 0:
            shard.broken = False
            shard.sent = shard.reported
            self._offer(page.key)

    def hold(self, campaign: int, until: float) -> None:
        """Send nothing of a campaign before ``until``."""
        if campaign in self._campaigns:
            self._campaigns[campaign].held_until = until

    def is_held(self, campaign: int, now: float) -> bool:
        """Return whether nothing of a campaign is sent at present."""
        return campaign in self._campaigns and self._campaigns[campaign].held_until > now

    def held_until(self, now: float) -> float | None:
        """Return when the next held campaign may go on; None if none waits."""
        waiting = [
            self._campaigns[number].held_until
            for number in self._turns
            if number in self._campaigns
        ]
        return min((until for until in waiting if until > now), default=None)

    def restart(self) -> None:
        """Begin a new stream: what is not acknowledged is to be sent, all subscribed to."""
        self._in_flight.clear()
        self._turns.clear()
        for number, campaign in self._campaigns.items():
            campaign.restart()
            self._turns.append(number)

    def report_all_again(self) -> None:
        """Begin with the first entry of every shard; call :meth:`restart` next."""
        for campaign in self._campaigns.values():
            for shard in campaign.shards.values():
                shard.reported = 0

    def report_again(self, campaign: int) -> None:
        """Begin with the first entry of every shard of a campaign, on the present stream.

        Pages in flight do not count: those before them may be lost.
        """
        for number, shard in self._campaigns[campaign].shards.items():
            shard.reported = 0
            shard.broken = shard.in_flight > 0
            if not shard.broken:
                shard.sent = 0
                self._offer(ShardKey(campaign, number))

    def acknowledged(self, campaign: int) -> int:
        """Return how many entries of a campaign are acknowledged."""
        return sum(shard.reported for shard in self._campaigns[campaign].shards.values())

    def admit(self, campaign: int) -> None:
        """Let the pages of a campaign out on this stream, once it is subscribed to.

        Before that they wait: what the subscription is answered then tells how the
        status service stood before this stream brought it anything.
        """
        if campaign in self._campaigns:
            self._campaigns[campaign].admitted = True
            self._take_turns(campaign)

    def subscribe_again(self, campaign: int) -> None:
        """Ask for the state of a campaign again before its next page."""
        if campaign in self._campaigns:
            self._campaigns[campaign].subscribed = self._campaigns[campaign].admitted = False
            self._take_turns(campaign)

    def _offer(self, key: ShardKey) -> None:
        campaign = self._campaigns[key.campaign]
        shard = campaign.shards[key.shard]
        if not shard.broken and shard.sent < shard.journaled:
            campaign.unsent[key.shard] = None
            self._take_turns(key.campaign)

    def _take_turns(self, campaign: int) -> None:
        if campaign not in self._turns:
            self._turns.append(campaign)
