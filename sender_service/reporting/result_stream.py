"""Relay the outbox to the status service over one stream, whatever breaks.

Frames are read from the outbox page by page, so memory is bounded however much is
unreported. Writing and reading run in separate tasks. What was not acknowledged is sent
again on the next stream; the status service merges repeats.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import structlog

from closeout.status.v1 import status_pb2 as pb
from sender_service.campaigns.directory import (
    Decision,
    Journaled,
    Opened,
    ProblemsChanged,
    Resealed,
)
from sender_service.domain import Backoff
from sender_service.reporting.acknowledgements import Acknowledgements
from sender_service.reporting.frame_writer import FrameWriter
from sender_service.reporting.meter import ReportingMeter
from sender_service.reporting.problem_reports import ProblemReports
from sender_service.reporting.reconciliation import Reconciliation
from sender_service.reporting.rejections import Rejections
from sender_service.reporting.relay_queue import RelayQueue
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from closeout.aio import StatusClient
    from sender_service.campaigns.directory import Announcement, Directory
    from sender_service.reporting.frame_writer import Call
    from service_runtime.database import Store

log = structlog.get_logger()

#: Results of a frame: about where the measured rate stops growing.
_RESULTS_A_FRAME = 500
#: A stream without an acknowledgement for so long is abandoned, seconds.
_ACKNOWLEDGE_SECONDS = 30.0
_WATCH_SECONDS = 1.0
#: How long a broken stream may take to give its reason, seconds.
_REASON_SECONDS = 1.0
_POLL_SECONDS = 0.01


class _StreamBrokenError(Exception):
    """The stream can't be used any more; the text gives the reason."""


class ResultStream:
    """Reports outcomes, and receives the states of campaigns on the way.

    Args:
        store: the sender's.
        client: reaches the status service.
        directory: announces what to report; receives states and decisions.
        instance: the name of this process, for "who reported last".
        replay_days: how long after its end a campaign may be reported again.
        meter: counts streams and acknowledgements.
    """

    def __init__(
        self,
        store: Store,
        client: StatusClient,
        directory: Directory,
        *,
        instance: str,
        replay_days: int,
        meter: ReportingMeter | None = None,
    ) -> None:
        self._meter = meter or ReportingMeter()
        self._store = store
        self._client = client
        self._directory = directory
        self._queue = RelayQueue(_RESULTS_A_FRAME)
        self._problem_reports = ProblemReports(self._queue, directory)
        self._writer = FrameWriter(store, self._queue, self._problem_reports, instance=instance)
        self._acknowledgements = Acknowledgements(store, replay_days=replay_days)
        self._rejections = Rejections(self._queue, directory)
        self._reconciliation = Reconciliation(
            store,
            self._queue,
            self._acknowledgements,
            self._rejections,
            directory,
            replay_days=replay_days,
        )
        self._answered = False

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        backoff = Backoff(first_seconds=0.2, max_seconds=10)
        while True:
            self._answered = False
            try:
                await self._stream()
            except StoreUnavailableError as error:
                log.warning("reporting_retrying", error=error.message)
            except _StreamBrokenError as error:
                self._disconnected(str(error))
            except Exception as error:
                log.exception("reporting_failed")  # a defect; reporting must go on
                self._disconnected(f"{type(error).__name__}: {error}")
            finally:
                self._meter.ended(was_connected=self._answered)
            self._meter.broken()
            if self._answered:
                backoff.reset()
            await asyncio.sleep(backoff.next_seconds())

    async def follow_deliveries(self) -> None:
        """Take what delivery announces, until cancelled."""
        while True:
            self._take(await self._directory.announcements.get())
            self._writer.wake()

    async def store_acknowledgements(self) -> None:
        """Write down what is acknowledged, and let finished campaigns go, until cancelled."""
        while True:
            for campaign in await self._acknowledgements.store():
                self._reconciliation.finish(campaign)
                self._problem_reports.forget(campaign)
                active = self._directory.find(campaign)
                if active is not None:
                    self._directory.decide(Decision.FINISHED, active)

    async def drain(self, seconds: float) -> None:
        """Wait until everything is acknowledged and stored, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._directory.status_problem is None:
            announced = self._directory.announcements.empty()
            if announced and not self._queue.unreported and self._acknowledgements.all_stored:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _take(self, announcement: Announcement) -> None:
        match announcement:
            case Opened(active, progress):
                self._queue.add(active.number, active.campaign_id, progress)
                # A campaign may have nothing to report, as one without messages.
                self._acknowledgements.add_complete(active.number)
            case Journaled(key, through):
                self._queue.journaled(key, through)
            case ProblemsChanged(number):
                self._problem_reports.changed(number)
            case Resealed(number, sealed):
                campaign = self._queue.find(number)
                if campaign is not None:
                    self._rejections.resealed(campaign, sealed=sealed)

    def _connected(self) -> None:
        if not self._answered:
            self._meter.connected()
        self._answered = True
        if self._directory.regained_status_service():
            log.info("status_stream_restored", unreported_results=self._queue.unreported)

    def _disconnected(self, reason: str) -> None:
        if self._directory.lost_status_service(reason):
            log.warning(
                "status_stream_disconnected",
                reason=reason,
                unreported_results=self._queue.unreported,
            )

    async def _stream(self) -> None:
        """Report on one stream until it breaks.

        Raises:
            _StreamBrokenError: always, in the end.
            StoreUnavailableError: the store does not answer.
        """
        await self._reconciliation.begin_stream()
        self._queue.begin_stream()
        self._directory.begin_stream()
        self._problem_reports.begin_stream()
        call: Call = self._client.report_results()
        reader = asyncio.create_task(self._read(call))
        writer = asyncio.create_task(self._writer.write(call))
        watchdog = asyncio.create_task(self._watch())
        tasks = (reader, writer, watchdog)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                # The server's reason reaches the reader, a moment later.
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

    async def _read(self, call: Call) -> None:
        while True:
            response = await call.read()
            if not isinstance(response, pb.ReportResultsResponse):
                return  # the end of the stream
            self._connected()
            await self._check_generation(response.store_generation)
            for state in response.campaign_states:
                self._reconciliation.receive(state)
            await self._take_acknowledgements(response)
            self._writer.wake()

    async def _take_acknowledgements(self, response: pb.ReportResultsResponse) -> None:
        rejections = {rejection.frame: rejection for rejection in response.rejections}
        acknowledged = self._queue.acknowledge(response.acked_through, rejections)
        self._meter.acknowledged(acknowledged)
        if acknowledged.frames:
            self._writer.progressed()
        self._acknowledgements.add(acknowledged.reported)
        for campaign, frame in acknowledged.rejected.items():
            await self._reconciliation.rejected(campaign, rejections[frame].rejection)
        for campaign, frame in acknowledged.unheard.items():
            self._problem_reports.rejected(campaign, rejections[frame].rejection)
        for campaign in acknowledged.accepted:
            await self._rejections.accepted(campaign)
        for campaign in acknowledged.answered:
            await self._reconciliation.compare(campaign)

    async def _watch(self) -> None:
        """End when frames in flight were not acknowledged for too long.

        Raises:
            _StreamBrokenError: then.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            silent = self._writer.silent_seconds
            if silent > _ACKNOWLEDGE_SECONDS:
                raise _StreamBrokenError(f"no acknowledgement for {silent:.0f} s")

    async def _check_generation(self, generation: str) -> None:
        """Report everything again if the results are in another store than before.

        Raises:
            _StreamBrokenError: they are; the next stream begins from the start.
            StoreUnavailableError: the store does not answer.
        """
        if await self._acknowledgements.adopt(generation):
            self._queue.report_all_again()
            self._reconciliation.reopen_all()
            log.warning(
                "status_store_replaced",
                generation=generation,
                unreported_results=self._queue.unreported,
            )
            raise _StreamBrokenError("the store of the status service was replaced")


def _is_cancelled() -> bool:
    """Return whether this task is cancelled, and not a call it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
