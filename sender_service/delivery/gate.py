"""What stands between the messages of one campaign and its provider.

All campaigns of a provider share its circuit breaker. A campaign that the provider
refuses while it takes the messages of others has a breaker of its own open, so that it
holds up nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog

from sender_service.delivery.circuit_breaker import SILENT, Breaker, CircuitBreaker
from sender_service.delivery.outage import Outage
from sender_service.delivery.shared_provider import (
    EVENTS,
    Place,
    Silence,
    unknown_fault,
    words_of,
)
from sender_service.delivery.trial import FIRST_MESSAGES, Refusal, Trial
from sender_service.domain import ProblemKind
from sender_service.verdicts import Answer, Effect, Fault, Requeue

if TYPE_CHECKING:
    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.channels.contract import Handover, Reply
    from sender_service.delivery.shared_provider import SharedProvider

log = structlog.get_logger()

_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.01, 30.0
#: After so many lost answers of a campaign in a row, its messages go out one at a time.
_LOST_IN_A_ROW = 5


class Held(NamedTuple):
    """The message was refused, which does not count yet: it waits for another try."""

    delay_seconds: float


Judgement: TypeAlias = Effect | Held


class Gate:
    """Lets the messages of one campaign through to its provider, and judges its answers.

    Args:
        shared: the provider.
        active: the campaign.
        remaining: how many of its messages have no outcome.
        deadline_seconds: after so long an outage what is unsent fails.

    Attributes:
        attending: True while the campaign has something to send.
        outage: since when the provider takes nothing.
    """

    def __init__(
        self,
        shared: SharedProvider,
        active: ActiveCampaign,
        *,
        remaining: int,
        deadline_seconds: float,
    ) -> None:
        self.shared = shared
        self.active = active
        self.attending = False
        self._trial = Trial(remaining)
        self._own = CircuitBreaker(shared.clock.now, state=Breaker.CLOSED)
        self.outage = Outage(shared, self._own, active, deadline_seconds=deadline_seconds)
        self._place = Place(active)
        self._accepted = False
        self._probing = False
        self._probes = 0
        self._lost_in_a_row = 0

    @property
    def is_closed(self) -> bool:
        """True while everything is let through."""
        closed = Breaker.CLOSED
        return self.shared.breaker.state is closed and self._own.state is closed

    @property
    def may_send(self) -> bool:
        """True while a message may be handed over."""
        if self.is_closed:
            return True
        return self._probing and Breaker.OPEN not in {self.shared.breaker.state, self._own.state}

    @property
    def wants_untried(self) -> bool:
        """True while a message that was never tried should go before those tried before.

        Every other probe is such a one: what a provider says of a few people must not pass
        for what it says of all, and one that takes people at their second try gets it.
        """
        return self._probing and self._probes % 2 == 1

    # Probing

    def take_probe(self) -> bool:
        """Return whether this campaign may send the one message that is let through.

        Campaigns take turns at it. :meth:`give_back_probe` ends it.
        """
        self._own.half_open()
        breaker = self.shared.breaker
        if self._own.state is Breaker.OPEN or breaker.state is Breaker.OPEN:
            return False
        if breaker.state is Breaker.HALF_OPEN:
            mine = self._place.last_probe
            before_us = any(other.last_probe < mine for other in self.shared.waiting)
            if not breaker.checked or self.shared.probing is not None or before_us:
                return False
            self.shared.probing = self._place
        self.shared.probes += 1
        self._probes += 1
        self._place.last_probe = self.shared.probes
        self._probing = True
        return True

    def give_back_probe(self) -> None:
        """Let another campaign send the one message, if the breaker is still half open."""
        self._probing = False
        if self.shared.probing is self._place:
            self.shared.probing = None
            self.shared.silence = None
            for other in self.shared.waiting:
                other.active.wake()

    def dispatching(self, handover: Handover) -> None:
        """Note that a message is on its way; the probe is watched."""
        if self._probing:
            self.shared.silence = Silence(self.shared.clock.now(), handover)
            self.shared.changed()

    async def wait(self) -> None:
        """Wait until the campaign or the provider changed, or a wait is over."""
        clock, seconds = self.shared.clock, _MAX_WAIT_SECONDS
        if self._own.state is Breaker.OPEN:
            seconds = min(seconds, clock.real_seconds(self._own.due_seconds))
        left = self.outage.seconds_left
        if left is not None:
            seconds = min(seconds, left)
        if self._own.state is not Breaker.OPEN:  # nobody waits for one that can't probe
            self.shared.waiting.add(self._place)
        try:
            await self.active.wait(max(seconds, _MIN_WAIT_SECONDS))
        finally:
            self.shared.waiting.discard(self._place)

    # Judging

    def run_out(self) -> None:
        """Note that no message is left that was not tried."""
        self._trial.run_out()

    def judge(self, sequence: int, reply: Reply, effect: Effect, attempts: int = 0) -> Judgement:
        """Return what a reply does to the message, given what it says of the provider.

        Args:
            sequence: the message.
            reply: the provider's answer.
            effect: what it does to the message by itself.
            attempts: how often the message was tried before.
        """
        self.shared.breaker.judging = self._own.judging = self.active.organisation
        self._lost_in_a_row = self._lost_in_a_row + 1 if reply.answer is Answer.LOST else 0
        if self._accepted and reply.answer is Answer.ACCEPTED and self.is_closed:
            self.shared.breaker.note(deferred=False)
            return effect
        if self._probing:
            # An answer closes or opens what was half open.
            self._probing, self.shared.silence = False, None
        words = words_of(reply)
        if reply.answer is Answer.PROVIDER_FAULT:
            fault = reply.fault or unknown_fault(self.shared.channel)
            self._open(fault, words, reply.retry_after_seconds)
            return Requeue()
        if not self.is_closed:
            self._answer(reply, words)
        match reply.answer:
            case Answer.DEFERRED:
                self._trial.note_other(sequence)
                return self._deferred(reply, words, effect, attempts)
            case Answer.REFUSED:
                return self._refused(sequence, words, effect)
            case Answer.ACCEPTED:
                self._trial.accept()
                self._accepted = True
                self.shared.accepted.add(self.active.number)
            case Answer.LOST:
                self._trial.note_other(sequence)
                if self._lost_in_a_row >= _LOST_IN_A_ROW:
                    self._open(SILENT, words, reply.retry_after_seconds)
        self.shared.breaker.note(deferred=False)
        return effect

    def _answer(self, reply: Reply, words: str) -> None:
        """Close or open what is half open."""
        own_before = self._own.state
        for breaker in (self.shared.breaker, self._own):
            before = breaker.state
            breaker.answer(reply.answer, words, retry_after_seconds=reply.retry_after_seconds)
            if breaker is self.shared.breaker:
                self.shared.moved(before)
        if self._own.state is not own_before:
            self._own_moved(own_before)

    def _deferred(self, reply: Reply, words: str, effect: Effect, attempts: int) -> Judgement:
        breaker = self.shared.breaker
        if not self.is_closed:
            return Requeue()  # no try is spent on it
        if attempts:
            return effect  # the provider is known to defer this one: it says nothing of others
        if not breaker.note(deferred=True):
            return effect
        before = breaker.state
        breaker.open_for_deferrals(words, retry_after_seconds=reply.retry_after_seconds)
        self.shared.moved(before)
        return Requeue()

    def _refused(self, sequence: int, words: str, effect: Effect) -> Judgement:
        for breaker in (self.shared.breaker, self._own):
            refuses = breaker.fault is not None and (
                breaker.fault.kind is ProblemKind.PROVIDER_REFUSES
            )
            if breaker.state is not Breaker.CLOSED and refuses:
                return Requeue()
        self.shared.breaker.note(deferred=False)
        match self._trial.refuse(sequence):
            case Refusal.EARLY:
                return Held(self._trial.hold_seconds(sequence))
            case Refusal.EVERYBODY:
                summary = f"the first {FIRST_MESSAGES} messages were all refused"
                fault = Fault(ProblemKind.PROVIDER_REFUSES, summary, needs_attention=True)
                self._open(fault, words, None)
                return Requeue()
            case Refusal.FINAL:
                return effect

    def _open(self, fault: Fault, words: str, retry_after_seconds: float | None) -> None:
        if Breaker.OPEN in {self.shared.breaker.state, self._own.state}:
            return  # the answer to a message that was on its way when it opened
        takes_others = bool(self.shared.accepted - {self.active.number})
        if self.shared.breaker.state is Breaker.HALF_OPEN or not takes_others:
            self.shared.open(fault, words, retry_after_seconds=retry_after_seconds)
            return
        before = self._own.state
        self.shared.accepted.discard(self.active.number)
        self._accepted = False
        self._own.reached = True  # the others show it
        self._own.open(fault, words, retry_after_seconds=retry_after_seconds)
        self._own_moved(before)

    def _own_moved(self, before: Breaker) -> None:
        fault = self._own.fault
        say, event = log.info, "provider_recovered"
        if fault is not None:
            say, event = log.warning, EVENTS[fault.kind]
        say(
            event,
            campaign_id=self.active.campaign_id,
            channel=self.shared.channel.name,
            provider=self.shared.channel.provider,
            state_before=before,
            state=self._own.state,
            reason="" if fault is None else f"{fault.summary}: {self._own.words}",
            setting="" if fault is None else fault.setting,
        )
        self.shared.changed()

    async def show(self, directory: Directory) -> None:
        """Show what holds the campaign up, if it has something to send.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if self.attending:
            await self.outage.show(directory)

    async def leave(self, directory: Directory) -> None:
        """Let the campaign be without a provider, as in a pause.

        Raises:
            StoreUnavailableError: the store does not answer; the next call tries again.
        """
        self.attending = False
        self._own.close()
        await self.outage.end(directory)
