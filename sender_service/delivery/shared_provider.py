"""What the campaigns of one provider share: its circuit breaker, and who probes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.delivery.tally import Tally
from sender_service.domain import MAX_DETAIL, ProblemKind
from sender_service.verdicts import Fault

if TYPE_CHECKING:
    import asyncio

    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.channels.contract import Channel, Handover, Reply
    from sender_service.delivery.clock import Clock

log = structlog.get_logger()

#: How a fault is logged.
EVENTS = {
    ProblemKind.PROVIDER_UNREACHABLE: "provider_unreachable",
    ProblemKind.PROVIDER_REFUSES: "provider_refuses",
    ProblemKind.PROVIDER_DEFERS: "provider_defers",
}


@dataclass(eq=False, slots=True)
class Place:
    """The place of a campaign among those that take turns at probing.

    Attributes:
        active: the campaign.
        last_probe: when it probed last, by the number of the probe.
    """

    active: ActiveCampaign
    last_probe: int = 0


@dataclass(slots=True)
class Silence:
    """A call that has not been answered: since when, how far it has come, what it is."""

    since: float
    handover: Handover
    is_check: bool = False


@dataclass(eq=False, slots=True)
class SharedProvider:
    """What the campaigns of one provider share.

    Attributes:
        channel: the way to the provider.
        clock: counts its waits.
        breaker: whether it takes messages.
        accepted: numbers of campaigns of which it took a message since it failed last.
        waiting: campaigns that wait for it.
        probing: the campaign whose message is the probe.
        silence: the call that a HALF_OPEN breaker waits for.
        closings: how often the breaker was closed.
        changes: set when something of this changed, one for each who follows.
        tally: counts what becomes of messages.
    """

    channel: Channel
    clock: Clock
    breaker: CircuitBreaker
    accepted: set[int] = field(default_factory=set)
    waiting: set[Place] = field(default_factory=set)
    probing: Place | None = None
    silence: Silence | None = None
    closings: int = 0
    probes: int = 0
    changes: tuple[asyncio.Event, ...] = ()
    tally: Tally = field(default_factory=Tally)
    _logged: tuple[Fault | None, str] = (None, "")

    def changed(self) -> None:
        """Make everyone who follows look again."""
        for event in self.changes:
            event.set()

    def open(self, fault: Fault, words: str, *, retry_after_seconds: float | None) -> None:
        """Open the breaker; see :meth:`CircuitBreaker.open`."""
        before = self.breaker.state
        self.breaker.open(fault, words, retry_after_seconds=retry_after_seconds)
        self.moved(before)

    def moved(self, before: Breaker) -> None:
        """Act on a change of the breaker's state."""
        state = self.breaker.state
        if state is before:
            return
        if state is Breaker.OPEN:
            self.accepted.clear()
            self._log_opened(before)
        elif state is Breaker.CLOSED:
            self.closings += 1
            recovered = self._logged[0] is not None
            log.info(
                "provider_recovered" if recovered else "provider_reached",
                channel=self.channel.name,
                provider=self.channel.provider,
                state_before=before,
                state=state,
            )
            self._logged = (None, "")
        self.changed()

    def _log_opened(self, before: Breaker) -> None:
        fault, words = self.breaker.fault, self.breaker.words
        if fault is None or (fault, words) == self._logged:
            return
        self._logged = (fault, words)
        log.warning(
            EVENTS[fault.kind],
            channel=self.channel.name,
            provider=self.channel.provider,
            state_before=before,
            state=self.breaker.state,
            reason=f"{fault.summary}: {words}",
            setting=fault.setting,
            retry_seconds=round(self.breaker.due_seconds, 1),
        )


def unknown_fault(channel: Channel) -> Fault:
    """Return the fault of a reply that names none."""
    summary = f"channel {channel.name} can't reach its provider"
    return Fault(ProblemKind.PROVIDER_UNREACHABLE, summary)


def words_of(reply: Reply) -> str:
    """Return the provider's own words."""
    return " ".join(filter(None, (reply.code, reply.detail)))[:MAX_DETAIL]
