"""Report for every organisation that has work, each over a stream of its own.

So a frame names no organisation, and what one stream waits for holds up no other. A stream
is opened when its organisation gets work, and closed when it has none. An organisation
whose campaigns have all ended is visited when the status service comes back, since it may
have been restored from a backup; the last stream stays open to notice that.

At most MOST_STREAMS are open at once. With more organisations at work than that, they take
turns, and one that waits sends nothing, since no pause would reach it.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from sender_service.campaigns.directory import (
    Decision,
    Journaled,
    Opened,
    ProblemsChanged,
    Resealed,
)
from sender_service.reporting.acknowledgements import Acknowledgements
from sender_service.reporting.frame_writer import FRAMES_IN_FLIGHT
from sender_service.reporting.meter import ReportingMeter
from sender_service.reporting.result_stream import ResultStream
from sender_service.reporting.stream_places import StreamPlaces
from sender_service.store import campaigns
from service_runtime.caller import DEFAULT_ORGANISATION
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from sender_service.campaigns.directory import Announcement, Directory
    from sender_service.campaigns.status_account import StatusAccount
    from service_runtime.database import Store

log = structlog.get_logger()

#: Streams that are open at once, at most.
MOST_STREAMS: Final = 1_000
#: Of those, visits of organisations without work.
_MOST_VISITS = 16
#: How long an organisation keeps its stream at least while others wait for one, seconds.
TURN_SECONDS: Final = 10.0
#: How long a stream stays open after the last work of its organisation, seconds.
LINGER_SECONDS: Final = 5.0
#: Frames of all streams together that wait for their acknowledgement, about; each stream
#: may have one in any case.
_FRAMES_OF_ALL, _FEWEST_FRAMES = 512, 1
#: How long a few streams wait for their next try at most, seconds, and how many of many try
#: in a second.
_SHORT_WAIT_SECONDS, _TRIES_A_SECOND = 2.0, 100
#: How often streams are opened and closed that nothing else asks for, seconds.
_LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.01


class Reporting:
    """Has a stream for each organisation with work, and routes to it what concerns it.

    Args:
        store: the sender's.
        account: reaches the status service.
        directory: the campaigns at work.
        instance: the name of this process, for "who reported last".
        replay_days: how long after its end a campaign may be reported again.
        hold_after_seconds: an organisation whose stream was not answered for so long sends
            nothing until it is; None: it sends on.
        meter: what all streams count with.
        most_streams: how many streams may be open at once.
        turn_seconds: how long one is kept at least while others wait.
        linger_seconds: how long one stays open without work.
    """

    def __init__(
        self,
        store: Store,
        account: StatusAccount,
        directory: Directory,
        *,
        instance: str,
        replay_days: int,
        hold_after_seconds: float | None = None,
        meter: ReportingMeter | None = None,
        most_streams: int = MOST_STREAMS,
        turn_seconds: float = TURN_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._store = store
        self._account = account
        self._directory = directory
        self._instance = instance
        self._replay_days = replay_days
        self._hold_after_seconds = hold_after_seconds
        self._meter = meter or ReportingMeter()
        self._linger_seconds = linger_seconds
        self._acknowledgements = Acknowledgements(store, replay_days=replay_days)
        self._places = StreamPlaces(
            most_streams, most_visits=_MOST_VISITS, turn_seconds=turn_seconds
        )
        self._streams: dict[str, ResultStream] = {}
        #: The stream of each campaign that was announced, by its number.
        self._owners: dict[int, ResultStream] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._idle_since: dict[str, float] = {}
        self._wake = asyncio.Event()
        #: What ``times_regained`` was when the organisations without work were visited.
        self._visited_at = -1
        self._turns_logged = False

    async def run(self) -> None:
        """Open and close streams until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._visit_those_without_work()
                    await self._arrange(time.monotonic())
                except Exception:
                    log.exception("reporting_failed")  # a defect; reporting must go on
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            await _end(list(self._tasks.values()))

    async def follow_deliveries(self) -> None:
        """Take what delivery announces, until cancelled."""
        while True:
            announcement = await self._directory.announcements.get()
            stream = self._owner(announcement)
            if stream is not None:
                stream.take(announcement)

    async def store_acknowledgements(self) -> None:
        """Write down what is acknowledged, and let finished campaigns go, until cancelled."""
        while True:
            for campaign in await self._acknowledgements.store():
                stream = self._owners.pop(campaign, None)
                if stream is not None:
                    stream.finish(campaign)
                active = self._directory.find(campaign)
                if active is not None:
                    self._directory.decide(Decision.FINISHED, active)

    async def hold_unheard(self) -> None:
        """Send nothing more for whom nothing was heard for too long; runs until cancelled."""
        if self._hold_after_seconds is None:
            return
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._hold_after_seconds / 4))
            for stream in tuple(self._streams.values()):
                stream.hold_if_unheard()

    async def drain(self, seconds: float) -> None:
        """Wait until all is acknowledged and stored that can be now, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            waiting = (
                self._streams[organisation].unreported
                for organisation in self._tasks
                if self._directory.status_problems.of(organisation) is None
            )
            announced = self._directory.announcements.empty()
            if announced and not any(waiting) and self._acknowledgements.all_stored:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _owner(self, announcement: Announcement) -> ResultStream | None:
        """Return the stream of the campaign concerned; None: it has been let go."""
        match announcement:
            case Opened(active, _):
                stream = self._owners[active.number] = self._stream(active.organisation)
                if active.organisation not in self._tasks:
                    self._wake.set()
                return stream
            case Journaled(key, _):
                number = key.campaign
            case ProblemsChanged(number) | Resealed(number, _):
                pass
        at_work = self._directory.find(number)
        if number in self._owners or at_work is None:
            return self._owners.get(number)
        return self._stream(at_work.organisation)

    def _stream(self, organisation: str) -> ResultStream:
        if organisation not in self._streams:
            self._streams[organisation] = ResultStream(
                self._store,
                self._account,
                self._directory,
                self._acknowledgements,
                organisation=organisation,
                instance=self._instance,
                replay_days=self._replay_days,
                most_in_flight=self._most_in_flight,
                longest_wait=self._longest_wait,
                hold_after_seconds=self._hold_after_seconds,
                meter=self._meter,
            )
        return self._streams[organisation]

    def _most_in_flight(self) -> int:
        """Return how many frames of one stream may be in flight: fewer, the more there are."""
        part = _FRAMES_OF_ALL // max(len(self._tasks), 1)
        return min(max(part, _FEWEST_FRAMES), FRAMES_IN_FLIGHT)

    def _longest_wait(self) -> float:
        """Return how long a stream may wait for its next try: longer, the more there are.

        A pause that was made meanwhile is not obeyed before that.
        """
        return max(_SHORT_WAIT_SECONDS, len(self._tasks) / _TRIES_A_SECOND)

    async def _visit_those_without_work(self) -> None:
        """At the start, and whenever the status service came back, which may be a restored one."""
        regained = self._directory.status_problems.times_regained
        if self._visited_at == regained:
            return
        finished = partial(campaigns.organisations_finished_lately, days=self._replay_days)
        try:
            found = await self._store.read(finished)
        except StoreUnavailableError as error:
            log.warning("reporting_retrying", error=error.message)
            return
        self._visited_at = regained
        for organisation in found:
            if self._account.has_key or organisation == DEFAULT_ORGANISATION:
                self._places.visit(organisation)

    async def _arrange(self, now: float) -> None:
        """Close the streams without work, and open those that are wanted."""
        for organisation in self._directory.organisations:
            self._places.ask(organisation)
        if not self._account.has_key:
            self._places.ask(DEFAULT_ORGANISATION)
        for organisation in self._places.open:
            if self._may_close(organisation, now):
                self._places.leave(organisation)
                await self._close(organisation)
        moves = self._places.move(now)
        for organisation in moves.closed:
            await self._close(organisation)
        for organisation in moves.opened:
            stream = self._stream(organisation)
            stream.begin()
            self._tasks[organisation] = asyncio.create_task(stream.run())
        if self._places.others_wait and not self._turns_logged:
            log.warning(
                "organisations_take_turns",
                streams=len(self._tasks),
                action="those that wait send nothing meanwhile; give some of them another sender",
            )
        self._turns_logged = self._places.others_wait

    def _may_close(self, organisation: str, now: float) -> bool:
        if not self._streams[organisation].is_idle:
            self._idle_since.pop(organisation, None)
            return False
        if organisation == DEFAULT_ORGANISATION and not self._account.has_key:
            return False
        idle_since = self._idle_since.setdefault(organisation, now)
        linger = 0.0 if self._places.is_visit(organisation) else self._linger_seconds
        return now - idle_since >= linger and len(self._tasks) > 1

    async def _close(self, organisation: str) -> None:
        """Close a stream; what was not acknowledged is sent again on the next one."""
        await _end([self._tasks.pop(organisation)])
        self._idle_since.pop(organisation, None)
        self._directory.forget_states(organisation)
        self._directory.status_problems.forget(organisation)
        if self._streams[organisation].is_idle:
            del self._streams[organisation]


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
