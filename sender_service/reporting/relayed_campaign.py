"""How far one campaign and its shards are reported, on the present stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from sender_service.reporting.subscription import Subscription


@dataclass(slots=True)
class RelayedShard:
    """How many entries of a shard are in the outbox, sent and acknowledged."""

    journaled: int
    reported: int
    sent: int
    #: Pages that were taken to be sent and are not answered.
    in_flight: int = 0
    #: A page was rejected: what was sent after it must not count as reported.
    broken: bool = False

    def restart(self) -> None:
        """Begin a new stream: what is not acknowledged is to be sent."""
        self.sent = self.reported
        self.in_flight = 0
        self.broken = False


@dataclass(slots=True, eq=False)
class RelayedCampaign:
    """A campaign that is reported, or of which only the state is requested.

    Attributes:
        number: its number within the store.
        campaign_id: the id that the status service knows.
        ended_total: its number of messages if it ended lately; None: it is at work.
        state: where it is on the stream.
        held_until: when HELD is over, on the caller's clock.
        shards: its shards by number.
        unsent: shards with entries to send, in the order in which they got them.
    """

    number: int
    campaign_id: str
    ended_total: int | None = None
    state: Subscription = Subscription.UNSUBSCRIBED
    held_until: float = 0.0
    shards: dict[int, RelayedShard] = field(default_factory=dict)
    unsent: dict[int, None] = field(default_factory=dict)

    @property
    def acknowledged(self) -> int:
        """How many outcomes are acknowledged: all of a campaign that ended."""
        if self.ended_total is not None:
            return self.ended_total
        return sum(shard.reported for shard in self.shards.values())

    @property
    def unreported(self) -> int:
        """How many entries are not acknowledged."""
        return sum(shard.journaled - shard.reported for shard in self.shards.values())

    @property
    def has_frame(self) -> bool:
        """True where a frame of the campaign may go out."""
        if self.state is Subscription.ADMITTED:
            return bool(self.unsent)
        return self.state is Subscription.UNSUBSCRIBED
