"""Report the journal to the status service over one stream, whatever breaks.

Frames are read from the journal page by page, so memory is bounded whatever is
unreported. Writing and reading run in separate tasks. What was not acknowledged
is sent again on the next stream; the status service merges repeats.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import grpc
import structlog

from closeout.status.v1 import status_pb2 as pb
from sender_service.domain import Backoff
from sender_service.reporting import wire
from sender_service.reporting.acknowledgements import Acknowledgements
from sender_service.reporting.reach import Reach
from sender_service.reporting.reconciliation import Recovery
from sender_service.reporting.rejections import Refusals
from sender_service.reporting.relay_queue import Backlog
from sender_service.store import campaigns, outbox
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from closeout.aio import StatusClient
    from sender_service.campaigns.directory import ActiveCampaign
    from sender_service.reporting.relay_queue import Frame
    from sender_service.store.outbox import ShardKey, ShardProgress
    from service_runtime.database import Store

log = structlog.get_logger()

_Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.ReportResultsRequest, pb.ReportResultsResponse]"

#: Results of a frame: about where the measured rate stops growing.
_RESULTS_A_FRAME = 500
_FRAMES_IN_FLIGHT = 16
#: Without an acknowledgement for so long, a stream is given up, seconds.
_ACKNOWLEDGE_SECONDS = 30.0
_WATCH_SECONDS = 1.0
#: How long a broken stream may take to say why, seconds.
_REASON_SECONDS = 1.0
_POLL_SECONDS = 0.01


class _StreamBrokenError(Exception):
    """The stream can't be used any more; the text says why."""


class Reporter:
    """Reports outcomes, and learns the states of campaigns on the way.

    Args:
        store: the sender's.
        client: reaches the status service.
        instance: the name of this process, for "who reported last".
        replay_days: how long after its end a campaign may be reported again.

    Attributes:
        recovery: notices what the status service lost.
        finished: told when every outcome of a campaign is acknowledged.
        reach: whether the status service can be reported to.
    """

    def __init__(
        self,
        store: Store,
        client: StatusClient,
        *,
        instance: str,
        replay_days: int,
    ) -> None:
        self._store = store
        self._client = client
        self._instance = instance
        self.finished: Callable[[ActiveCampaign], None] | None = None
        self._backlog = Backlog(_RESULTS_A_FRAME)
        self._campaigns: dict[int, ActiveCampaign] = {}
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._acknowledgements = Acknowledgements(store, replay_days=replay_days)
        self.recovery = Recovery(
            store, self._backlog, self._acknowledgements, replay_days=replay_days
        )
        self._refusals = Refusals(store, self._backlog, self.recovery)
        self._progress_time = 0.0
        self.reach = Reach()

    def add(self, active: ActiveCampaign, progress: Iterable[ShardProgress]) -> None:
        """Report a campaign, from where its shards are, and follow its state."""
        self._campaigns[active.number] = active
        self._backlog.add(active.number, progress)
        self._more.set()

    def journaled(self, key: ShardKey, through: int) -> None:
        """Note that the journal of a shard has ``through`` entries now."""
        self._backlog.journaled(key, through)
        self._more.set()

    def sealing_ended(self, campaign: int, *, sealed: bool) -> None:
        """Ask for a campaign again after a try to seal it."""
        self._refusals.sealing_ended(campaign, sealed=sealed)
        self._more.set()

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        backoff = Backoff(first_seconds=0.2, max_seconds=10)
        while True:
            self.reach.begin()
            try:
                await self._stream()
            except (_StreamBrokenError, StoreUnavailableError) as error:
                self.reach.lost(str(error), self._backlog.unreported)
            except Exception as error:
                log.exception("reporter_failed")  # a defect; reporting must go on
                self.reach.lost(f"{type(error).__name__}: {error}", self._backlog.unreported)
            if self.reach.answered:
                backoff.reset()
            await asyncio.sleep(backoff.next_seconds())

    async def store_acknowledgements(self) -> None:
        """Write down what is acknowledged until cancelled."""
        await self._acknowledgements.run(self.finish)

    async def drain(self, seconds: float) -> None:
        """Wait until all is acknowledged and stored, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.reach.trouble:
            if not self._backlog.unreported and self._acknowledgements.all_stored:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _stream(self) -> None:
        """Report on one stream until it breaks.

        Raises:
            _StreamBrokenError: always, in the end.
        """
        await self.recovery.begin(self._campaigns)
        self._backlog.restart()
        self._room.set()
        call: _Call = self._client.report_results()
        reader = asyncio.create_task(self._read(call))
        writer = asyncio.create_task(self._write(call))
        watchdog = asyncio.create_task(self._watch())
        tasks = (reader, writer, watchdog)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                # The server's reason comes to the reader, a moment later.
                await asyncio.wait([reader], timeout=_REASON_SECONDS)
            for task in tasks:
                if task.done():
                    await task
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise _StreamBrokenError("the call was cancelled") from None
        except grpc.aio.AioRpcError as error:
            reason = error.details() or error.code().name
            raise _StreamBrokenError(f"{error.code().name}: {reason}") from error
        except asyncio.InvalidStateError as error:
            raise _StreamBrokenError("the call had ended") from error
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise _StreamBrokenError("the status service ended the stream")

    async def _write(self, call: _Call) -> None:
        number = 0
        while True:
            self._room.clear()
            if self._backlog.in_flight >= _FRAMES_IN_FLIGHT:
                await self._room.wait()
                continue
            self._more.clear()
            now = time.monotonic()
            frame = self._backlog.next_frame(now)
            if frame is None:
                await self._wait_for_more(now)
                continue
            number += 1
            request = await self._request(number, frame)
            if not self._backlog.in_flight:
                self._progress_time = time.monotonic()
            self._backlog.sent(number, frame)
            await call.write(request)

    async def _wait_for_more(self, now: float) -> None:
        held_until = self._backlog.held_until(now)
        try:
            async with asyncio.timeout(None if held_until is None else held_until - now):
                await self._more.wait()
        except TimeoutError:
            return

    async def _request(self, number: int, frame: Frame) -> pb.ReportResultsRequest:
        request = pb.ReportResultsRequest(
            frame=number,
            campaign_id=self._campaign_id(frame.campaign),
            reporter=self._instance,
        )
        if frame.page is not None:
            page = frame.page
            entries = await self._store.read(
                partial(
                    outbox.read, key=page.key, after=page.after, limit=page.through - page.after
                )
            )
            request.results.extend(wire.result(entry) for entry in entries)
        return request

    def _campaign_id(self, campaign: int) -> str:
        active = self._campaigns.get(campaign)
        return self.recovery.campaign_id(campaign) if active is None else active.campaign_id

    async def _read(self, call: _Call) -> None:
        while True:
            response = await call.read()
            if not isinstance(response, pb.ReportResultsResponse):
                return  # the end of the stream
            self.reach.regained(self._backlog.unreported)
            await self._check_generation(response.store_generation)
            self.recovery.note_told(response)
            await self._note_states(response)
            rejections = {rejection.frame: rejection for rejection in response.rejections}
            acknowledged = self._backlog.acknowledge(response.acked_through, rejections)
            if acknowledged.settled:
                self._progress_time = time.monotonic()
                self._room.set()
            self._acknowledgements.add(acknowledged.reported)
            await self._refusals.note(acknowledged, rejections, self._campaigns)
            for campaign in acknowledged.subscribed:
                await self.recovery.subscribed(campaign, self._campaigns.get(campaign))
            self._more.set()

    async def _watch(self) -> None:
        """End when frames in flight were not acknowledged for too long.

        Raises:
            _StreamBrokenError: then.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            silent = time.monotonic() - self._progress_time
            if self._backlog.in_flight and silent > _ACKNOWLEDGE_SECONDS:
                raise _StreamBrokenError(f"no acknowledgement for {silent:.0f} s")

    async def _check_generation(self, generation: str) -> None:
        """Report everything again if the results are in another store than before.

        Raises:
            _StreamBrokenError: they are; the next stream begins from the start.
        """
        if await self._acknowledgements.adopt(generation):
            self._backlog.report_all_again()
            await self.recovery.take_up_open()
            log.warning(
                "status_store_replaced",
                generation=generation,
                unreported_results=self._backlog.unreported,
            )
            raise _StreamBrokenError("the store of the status service was replaced")

    async def _note_states(self, response: pb.ReportResultsResponse) -> None:
        if not response.campaign_states:
            return
        by_id = {active.campaign_id: active for active in self._campaigns.values()}
        for told in response.campaign_states:
            active = by_id.get(told.campaign_id)
            state = wire.state_of(told.state)
            if active is not None:
                active.revision = told.revision
            if active is not None and active.set_state(state):
                await self._store.write(
                    partial(campaigns.store_state, campaign=active.number, state=state)
                )

    def finish(self, campaign: int) -> None:
        """Stop following a campaign of which everything is acknowledged."""
        self._backlog.remove(campaign)
        self._refusals.forget(campaign)
        active = self._campaigns.pop(campaign, None)
        if active is not None and self.finished is not None:
            self.finished(active)


def _is_cancelled() -> bool:
    """Return whether this task is cancelled, and not a call it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
