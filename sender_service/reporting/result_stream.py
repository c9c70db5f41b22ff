"""Relay the outbox of one organisation to the status service over a stream, whatever breaks.

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

from closeout.errors import from_rpc_error
from closeout.status.v1 import status_pb2 as pb
from sender_service.campaigns.directory import Journaled, Opened, ProblemsChanged, Resealed
from sender_service.campaigns.status_account import is_about_a_key, key_refused
from sender_service.domain import Backoff
from sender_service.errors import ServiceKeyError
from sender_service.reporting.frame_writer import FrameWriter
from sender_service.reporting.link import Link
from sender_service.reporting.meter import ReportingMeter
from sender_service.reporting.probe import Probe
from sender_service.reporting.problem_reports import ProblemReports
from sender_service.reporting.reconciliation import Reconciliation
from sender_service.reporting.rejections import Rejections
from sender_service.reporting.relay_queue import RelayQueue
from sender_service.reporting.stream_watch import StreamBrokenError, StreamWatch
from service_runtime.cancellation import task_is_cancelled
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender_service.campaigns.directory import Announcement, Directory
    from sender_service.campaigns.status_account import StatusAccount
    from sender_service.reporting.acknowledgements import Acknowledgements
    from sender_service.reporting.frame_writer import Call
    from service_runtime.database import Store

log = structlog.get_logger()

#: Results of a frame: about where the measured rate stops growing.
_RESULTS_A_FRAME = 500
#: Between two streams, seconds.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 10.0
#: How long a broken stream may take to give its reason, seconds.
_REASON_SECONDS = 1.0


class ResultStream:
    """Reports the outcomes of an organisation, and receives the states of its campaigns.

    Args:
        store: the sender's.
        account: reaches the status service.
        directory: announces what to report; receives states and decisions.
        acknowledgements: written down as they come, together with those of others.
        organisation: whose results they are.
        instance: the name of this process, for "who reported last".
        replay_days: how long after its end a campaign may be reported again.
        most_in_flight: how many frames may wait for their acknowledgement now.
        longest_wait: how long to wait at most before a new stream is tried, seconds.
        hold_after_seconds: once nothing was heard for so long, nothing of the organisation is
            sent; None: sending goes on.
        meter: counts streams and acknowledgements; all streams share one.

    Attributes:
        organisation: whose results they are.
    """

    def __init__(
        self,
        store: Store,
        account: StatusAccount,
        directory: Directory,
        acknowledgements: Acknowledgements,
        *,
        organisation: str,
        instance: str,
        replay_days: int,
        most_in_flight: Callable[[], int],
        longest_wait: Callable[[], float],
        hold_after_seconds: float | None = None,
        meter: ReportingMeter | None = None,
    ) -> None:
        self.organisation = organisation
        self._longest_wait = longest_wait
        self._meter = meter or ReportingMeter()
        self._store = store
        self._account = account
        self._link = Link(
            directory,
            organisation,
            lambda: self._queue.unreported,
            hold_after_seconds=hold_after_seconds,
        )
        self._directory = directory
        self._queue = RelayQueue(_RESULTS_A_FRAME)
        self._problem_reports = ProblemReports(self._queue, directory, organisation)
        self._probe = Probe(directory, organisation, hold_after_seconds=hold_after_seconds)
        self._writer = FrameWriter(
            store,
            self._queue,
            self._problem_reports,
            self._probe,
            instance=instance,
            most_in_flight=most_in_flight,
        )
        self._watch = StreamWatch(self._writer, directory, organisation)
        self._acknowledgements = acknowledgements
        self._rejections = Rejections(self._queue, directory)
        self._reconciliation = Reconciliation(
            store,
            self._queue,
            self._acknowledgements,
            self._rejections,
            directory,
            organisation=organisation,
            replay_days=replay_days,
        )
        self._answered = False
        #: True once it is known what is to be requested.
        self._begun = False

    @property
    def is_idle(self) -> bool:
        """True when no campaign is at work, and no answer about one is awaited."""
        reported = self._queue.is_empty and self._reconciliation.is_settled
        return self._begun and reported and not self._directory.of(self.organisation)

    def begin(self) -> None:
        """Note that :meth:`run` is about to be called, perhaps again."""
        self._begun = False

    @property
    def unreported(self) -> int:
        """How many outcomes are not acknowledged; costs a look at every shard."""
        return self._queue.unreported

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        # In every line of the log from here on: an id alone does not name a campaign.
        structlog.contextvars.bind_contextvars(organisation=self.organisation)
        backoff = Backoff(first_seconds=_FIRST_WAIT_SECONDS, max_seconds=_LONGEST_WAIT_SECONDS)
        while True:
            self._answered = False
            try:
                await self._stream()
            except StoreUnavailableError as error:
                log.warning(
                    "reporting_retrying", organisation=self.organisation, error=error.message
                )
            except StreamBrokenError as error:
                self._link.disconnected(str(error))
            except ServiceKeyError as error:
                self._link.refused(error.message)
            except Exception as error:
                log.exception("reporting_failed")  # a defect; reporting must go on
                self._link.disconnected(f"{type(error).__name__}: {error}")
            finally:
                self._meter.ended(was_connected=self._answered)
            self._meter.broken()
            if self._answered:
                backoff.reset()
            await asyncio.sleep(min(backoff.next_seconds(), self._longest_wait()))

    def hold_if_unheard(self) -> None:
        """Send nothing more of the organisation if nothing was heard for too long."""
        if self._link.hold_if_unheard():
            self._watch.give_up("the status service was not heard for too long")

    def finish(self, campaign: int) -> None:
        """Report a campaign no more: every outcome of it is acknowledged and stored."""
        self._reconciliation.finish(campaign)
        self._problem_reports.forget(campaign)

    def take(self, announcement: Announcement) -> None:
        """Take what delivery announces of a campaign of this organisation."""
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
        self._writer.wake()

    async def _stream(self) -> None:
        """Report on one stream until it breaks.

        Raises:
            StreamBrokenError: always, in the end, but for:
            ServiceKeyError: the status service refuses the sender's key.
            StoreUnavailableError: the store does not answer.
        """
        client = self._account.client(self.organisation)
        await self._reconciliation.begin_stream()
        self._queue.begin_stream()
        self._directory.begin_stream(self.organisation)
        self._problem_reports.begin_stream()
        self._watch.begin_stream()
        self._begun = True
        call: Call = client.report_results()
        reader = asyncio.create_task(self._read(call))
        writer = asyncio.create_task(self._writer.write(call))
        watchdog = asyncio.create_task(self._watch.run())
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
            if task_is_cancelled():
                raise
            raise StreamBrokenError("the call was cancelled") from None
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error)
            if is_about_a_key(refusal):
                raise ServiceKeyError(key_refused(refusal)) from error
            reason = error.details() or error.code().name
            raise StreamBrokenError(f"{error.code().name}: {reason}") from error
        except asyncio.InvalidStateError as error:
            raise StreamBrokenError("the call had ended") from error
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise StreamBrokenError("the status service ended the stream")

    async def _read(self, call: Call) -> None:
        while True:
            response = await call.read()
            if not isinstance(response, pb.ReportResultsResponse):
                return  # the end of the stream
            self._watch.check()
            if not self._answered:
                self._meter.connected()
            self._answered = True
            self._link.heard()
            self._probe.heard(time.monotonic())
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

    async def _check_generation(self, generation: str) -> None:
        """Report everything again if the results are in another store than before.

        Raises:
            StreamBrokenError: they are; the next stream begins from the start.
            StoreUnavailableError: the store does not answer.
        """
        if await self._acknowledgements.adopt(self.organisation, generation):
            self._queue.report_all_again()
            self._reconciliation.reopen_all()
            log.warning(
                "status_store_replaced",
                organisation=self.organisation,
                generation=generation,
                unreported_results=self._queue.unreported,
            )
            raise StreamBrokenError("the store of the status service was replaced")
