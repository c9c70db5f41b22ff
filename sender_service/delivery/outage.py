"""Since when a campaign waits for its provider, and what people see of that."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from sender_service.campaigns.directory import Source
from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.domain import Problem
from sender_service.store import outages

if TYPE_CHECKING:
    from datetime import datetime

    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.campaigns.directory import Directory
    from sender_service.delivery.shared_provider import SharedProvider, Silence

#: After this long without an answer of a provider, campaigns say so, seconds.
_SILENCE_SECONDS = 3.0
#: The time of day may differ by so much from what a steady clock says, seconds.
_MAX_DRIFT_SECONDS = 60.0
_MAX_DEADLINE_SECONDS = 100 * 365 * 86_400.0
#: In the place of words that may name another organisation's recipient.
_WORDS_OF_ANOTHER = (
    "the provider said it of another organization's message; the sender's log has its words"
)


class Outage:
    """What holds one campaign up at its provider, as the store and people see it.

    Args:
        shared: the provider.
        own: the breaker that only this campaign has.
        active: the campaign.
        deadline_seconds: after so long what is unsent fails.
    """

    def __init__(
        self,
        shared: SharedProvider,
        own: CircuitBreaker,
        active: ActiveCampaign,
        *,
        deadline_seconds: float,
    ) -> None:
        self._shared = shared
        self._own = own
        self._active = active
        self._deadline = timedelta(seconds=min(deadline_seconds, _MAX_DEADLINE_SECONDS))
        self._closings = shared.closings
        #: What the store has.
        self._stored_since: datetime | None = active.row.unreachable_time
        self._shown: Problem | None = None
        self._since: datetime | None = self._stored_since
        self._storing = asyncio.Lock()
        #: Both clocks when they were compared last.
        self._compared = self._clocks()

    @property
    def seconds_left(self) -> float | None:
        """How long it may still last, negative after the deadline; None: there is none."""
        since = self._begin_or_end()
        if since is None:
            return None
        return (since + self._deadline - self._shared.clock.wall()).total_seconds()

    @property
    def is_over(self) -> bool:
        """True if there is none, and the store knows that."""
        is_closed = Breaker.CLOSED is self._shared.breaker.state is self._own.state
        return is_closed and self._shown is None and self._stored_since is None

    def _fault(self) -> CircuitBreaker | None:
        """Return the breaker that says what is wrong, if one does."""
        for breaker in (self._shared.breaker, self._own):
            if breaker.fault is not None:
                return breaker
        return None

    def _begin_or_end(self) -> datetime | None:
        """Return since when the campaign waits because of a fault; None: it does not."""
        if self._closings != self._shared.closings:
            self._closings = self._shared.closings
            if self._own.fault is None:
                self._since = None
        if self._fault() is None:
            if self._shared.breaker.state is Breaker.CLOSED:
                self._since = None
            return None
        if self._since is None:
            self._since, _ = self._compared = self._clocks()
        self._since += self._drift()
        return self._since

    def _clocks(self) -> tuple[datetime, float]:
        return self._shared.clock.wall(), self._shared.clock.now()

    def _drift(self) -> timedelta:
        """Return by how much the time of day was set, or the machine slept; mostly not at all.

        The outage moves with it: nobody's message fails since a clock was set, or since
        the machine slept for days.
        """
        wall, steady = self._clocks()
        passed = self._shared.clock.real_seconds(steady - self._compared[1])
        drift = wall - self._compared[0] - timedelta(seconds=passed)
        if abs(drift.total_seconds()) < _MAX_DRIFT_SECONDS:
            return timedelta()
        self._compared = wall, steady
        return drift

    def problem(self) -> Problem | None:
        """Return what holds the campaign up; None: the provider takes its messages."""
        since, breaker = self._begin_or_end(), self._fault()
        if breaker is None or breaker.fault is None or since is None:
            return self._silence(self._shared.silence)
        return Problem(
            breaker.fault.kind,
            breaker.fault.summary,
            detail=self._words_of(breaker),
            setting=breaker.fault.setting,
            provider=self._shared.channel.provider,
            since_time=since,
            needs_attention=breaker.needs_attention,
            deadline_time=since + self._deadline,
        )

    def _words_of(self, breaker: CircuitBreaker) -> str:
        """Return what a provider said, unless that was about another organisation's message."""
        if breaker.words_concern in {"", self._active.organisation}:
            return breaker.words
        return _WORDS_OF_ANOTHER

    def _silence(self, silence: Silence | None) -> Problem | None:
        shared = self._shared
        if silence is None or shared.clock.now() - silence.since < _SILENCE_SECONDS:
            return None
        what = "the sender still waits" if silence.is_check else "one message waits for an answer"
        suspected = shared.channel.silence(silence.handover.stage, _SILENCE_SECONDS)
        return Problem(
            suspected.kind,
            suspected.summary,
            detail=f"{what}, {silence.handover.stage}",
            setting=suspected.setting,
            provider=shared.channel.provider,
            needs_attention=not shared.breaker.reached,
        )

    async def show(self, directory: Directory) -> None:
        """Store what holds the campaign up now, if that changed.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        async with self._storing:
            await self._store(directory, self.problem())

    async def end(self, directory: Directory) -> None:
        """Let the outage be over, whatever the provider does: a pause is no part of it.

        Raises:
            StoreUnavailableError: the store does not answer; the next call tries again.
        """
        async with self._storing:
            self._since = None
            await self._store(directory, None)

    async def _store(self, directory: Directory, problem: Problem | None) -> None:
        since = self._since
        if problem is None and self._shown is None and since == self._stored_since:
            return
        also = None
        if since != self._stored_since:
            also = partial(outages.note_outage, campaign=self._active.number, since=since)
        await directory.set_problem(self._active, Source.PROVIDER, problem, also=also)
        self._stored_since, self._shown = since, problem
