"""How far a campaign and its shards are reported, on the present stream."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Shard:
    """How many entries of a shard are journaled, sent and acknowledged."""

    journaled: int
    reported: int
    sent: int
    #: Pages that were taken to be sent and are not answered.
    in_flight: int = 0
    #: A frame was rejected: what was sent after it must not count as reported.
    broken: bool = False

    def restart(self) -> None:
        """Begin a new stream: what is not acknowledged is to be sent."""
        self.sent = self.reported
        self.in_flight = 0
        self.broken = False


@dataclass(slots=True)
class Campaign:
    """The subscription to a campaign, and its shards."""

    #: Whether the subscription was taken to be sent.
    subscribed: bool = False
    #: Subscriptions that were taken to be sent and are not answered.
    asking: int = 0
    #: Its pages may go out on this stream.
    admitted: bool = False
    held_until: float = 0.0
    shards: dict[int, Shard] = field(default_factory=dict)
    #: Shards with entries to send, in the order they got them.
    unsent: dict[int, None] = field(default_factory=dict)

    @property
    def all_reported(self) -> bool:
        """True when every entry is acknowledged."""
        return all(shard.reported == shard.journaled for shard in self.shards.values())

    @property
    def is_asked_again(self) -> bool:
        """True when a subscription is to be sent, or waits for its answer.

        No page goes out before that answer, so what is answered before it is older.
        """
        return not self.subscribed or self.asking > 0

    def restart(self) -> None:
        """Begin a new stream: all of it is to be asked for, then what is not acknowledged."""
        self.subscribed = self.admitted = False
        self.asking = 0
        for number, shard in self.shards.items():
            shard.restart()
            if shard.sent < shard.journaled:
                self.unsent[number] = None
