"""Probe the providers that take no messages, and show the campaigns that wait for them."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from sender_service.channels.contract import Handover
from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.delivery.shared_provider import (
    SharedProvider,
    Silence,
    unknown_fault,
    words_of,
)
from sender_service.store import outages
from sender_service.verdicts import Answer, Reply
from service_runtime.errors import StoreUnavailableError
from service_runtime.repetition import repeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sender_service.campaigns.directory import Directory
    from sender_service.channels.contract import Channel
    from sender_service.delivery.clock import Clock
    from sender_service.delivery.gate import Gate
    from service_runtime.database import Store

log = structlog.get_logger()

#: How often what campaigns show is renewed while their provider takes nothing, seconds.
_SHOW_SECONDS = 1.0
#: A check may take so much longer than the channel says before it is given up, seconds.
_CHECK_GRACE_SECONDS = 5.0
#: During a longer wait for a provider it is stored again that a process knows of it, seconds.
_NOTE_SECONDS = 300.0
#: How often a loop is cancelled at the end, and how long it may take each time, seconds.
_CLOSE_TRIES, _CLOSE_SECONDS = 4, 0.25
#: How long a loop that failed waits until it begins again, seconds.
_AGAIN_SECONDS = 1.0


class Provider:
    """One provider, probed once for all campaigns that wait for it.

    A new process knows nothing of its providers, so each one is probed at first.

    Args:
        store: the sender's.
        directory: shows the problems of campaigns.
        channel: the way to the provider.
        clock: counts the waits.
    """

    def __init__(self, store: Store, directory: Directory, channel: Channel, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._channel = channel
        self._clock = clock
        self._probe_again, self._show_again = asyncio.Event(), asyncio.Event()
        self.shared = SharedProvider(
            channel,
            clock,
            CircuitBreaker(clock.now),
            changes=(self._probe_again, self._show_again),
        )
        self._gates: set[Gate] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to probe and to show."""
        self._tasks = [
            asyncio.create_task(self._repeat(loop)) for loop in (self._probe, self._show)
        ]

    async def close(self) -> None:
        """End it within a few seconds; a check that runs is cancelled.

        Again where that is without effect: a channel, or a library below it, may lose a
        cancellation.
        """
        tasks: set[asyncio.Task[None]] = set(self._tasks)
        for _ in range(_CLOSE_TRIES):
            for task in tasks:
                task.cancel()
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        if tasks:
            log.warning("channel_ignores_cancellation", channel=self._channel.name)

    def attend(self, gate: Gate) -> None:
        """Have the provider probed for a campaign that has something to send."""
        if not gate.attending:
            gate.attending = True
            self._gates.add(gate)
            self.shared.changed()

    def remove(self, gate: Gate) -> None:
        """Let go of a campaign that has nothing to send any more."""
        gate.attending = False
        self._gates.discard(gate)
        self.shared.accepted.discard(gate.active.number)
        if self.shared.breaker.state is not Breaker.CLOSED:
            self.shared.changed()  # others may have let it go first

    async def release(self, gate: Gate) -> None:
        """Let a campaign be without the provider, and without a problem of it.

        Raises:
            StoreUnavailableError: the store does not answer; the next call tries again.
        """
        self.remove(gate)
        await gate.leave(self._directory)

    async def _repeat(self, loop: Callable[[], Awaitable[NoReturn]]) -> None:
        await repeat(
            loop,
            rest=partial(asyncio.sleep, _AGAIN_SECONDS),
            postponed="provider_loop_postponed",
            failed="provider_loop_crashed",
            defect_seconds=0,
            channel=self._channel.name,
            action="it is tried again; report the stack if it comes back",
        )

    # Probing

    async def _probe(self) -> NoReturn:
        """Check whether the provider lets us in, whenever that is due."""
        breaker, noted = self.shared.breaker, (0, 0.0)
        while True:
            self._probe_again.clear()
            breaker.half_open()
            needed = bool(self._gates) and not self._directory.stopping
            if needed and breaker.state is Breaker.HALF_OPEN and not breaker.checked:
                await self._check()
                continue
            wait: float | None = None
            if needed and breaker.state is Breaker.OPEN:
                noted = await self._note_tried(noted)
                wait = min(self._clock.real_seconds(breaker.due_seconds), _NOTE_SECONDS)
            await _wait(self._probe_again, wait)

    async def _note_tried(self, noted: tuple[int, float]) -> tuple[int, float]:
        """Store that a probe failed, and during a long wait again, and return what is stored.

        So an outage outlives a restart, and only the time without a process is left out.
        """
        failed, now = self.shared.breaker.failures, time.monotonic()
        if failed == noted[0] and now - noted[1] < _NOTE_SECONDS:
            return noted
        try:
            await self._store.write(outages.note_tried)
        except StoreUnavailableError as error:
            log.warning("outage_not_stored", channel=self._channel.name, error=error.message)
        return failed, now

    async def _check(self) -> None:
        breaker, handover = self.shared.breaker, Handover()
        self.shared.silence = Silence(self._clock.now(), handover, is_check=True)
        self.shared.changed()
        try:
            reply = await self._ask(handover)
        finally:
            self.shared.silence = None
        if breaker.state is not Breaker.HALF_OPEN:
            return  # a message that was on its way was answered meanwhile
        if reply.answer is Answer.ACCEPTED:
            breaker.pass_check()
            self.shared.changed()
        else:
            breaker.judging = ""
            self.shared.open(
                reply.fault or unknown_fault(self._channel),
                words_of(reply),
                retry_after_seconds=reply.retry_after_seconds,
            )

    async def _ask(self, handover: Handover) -> Reply:
        """Return what the check says; a channel that raises or never returns is a fault too."""
        seconds = self._channel.timeout_seconds + _CHECK_GRACE_SECONDS
        defect: BaseException
        try:
            async with asyncio.timeout(seconds):
                return await self._channel.check(handover)
        except TimeoutError:
            said = f"the check did not end within {seconds:g} s, {handover.stage}"
            return Reply(Answer.PROVIDER_FAULT, code="timeout", detail=said)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling() > 0:
                raise
            defect = error
        except Exception as error:  # noqa: BLE001 - logged with its stack, and shown
            defect = error
        log.error("channel_failed", channel=self._channel.name, exc_info=defect)
        return Reply(Answer.PROVIDER_FAULT, code="channel_error", detail=type(defect).__name__)

    # Showing

    async def _show(self) -> NoReturn:
        """Show what holds up the campaigns, and wake those that may go on."""
        while True:
            if self._show_again.is_set():
                self._show_again.clear()
                for gate in tuple(self._gates):
                    gate.active.wake()
            for gate in tuple(self._gates):
                try:
                    await gate.show(self._directory)
                except StoreUnavailableError as error:
                    log.warning(
                        "problem_not_stored",
                        campaign_id=gate.active.campaign_id,
                        error=error.message,
                    )
            quiet = all(gate.outage.is_over for gate in self._gates)
            wait = None if quiet else self._clock.real_seconds(_SHOW_SECONDS)
            await _wait(self._show_again, wait)


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Providers:
    """The providers of this process, one for each channel that is used.

    Args:
        store: the sender's.
        directory: shows the problems of campaigns.
        clock: counts the waits.
    """

    def __init__(self, store: Store, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._providers: dict[str, Provider] = {}

    def of(self, channel: Channel) -> Provider:
        """Return the provider behind a channel."""
        if channel.name not in self._providers:
            provider = Provider(self._store, self._directory, channel, self._clock)
            provider.start()
            self._providers[channel.name] = provider
        return self._providers[channel.name]

    @property
    def shared(self) -> list[SharedProvider]:
        """What the campaigns of each provider share."""
        return [provider.shared for provider in self._providers.values()]

    async def close(self) -> None:
        """End them all."""
        await asyncio.gather(*(provider.close() for provider in self._providers.values()))
