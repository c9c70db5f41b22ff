"""One stream of results: frames in, acknowledgements and changes of state out.

Reading and answering run side by side, so neither side can block the other. A
frame belongs to a writer from the moment it is read: what becomes of the stream
does not change what becomes of the frame, and the end of a stream means nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from closeout.status.v1 import status_pb2
from service_runtime.errors import InvalidRequestError, ServiceError, ShuttingDownError
from status_service.errors import CampaignNotFoundError, FrameOutOfOrderError
from status_service.grpc_api import validation
from status_service.grpc_api.messages import campaign_state, rejection
from status_service.recording.types import CampaignKey, Change, Frame, FrameReceipt

if TYPE_CHECKING:
    import grpc

    from service_runtime.caller import Caller
    from status_service.domain import State
    from status_service.recording.notifier import Notifier
    from status_service.recording.writer_pool import WriterPool

log = structlog.get_logger()

#: Longest name of a reporter.
_REPORTER = 128


class ResultStream:
    """The server's side of one ReportResults call.

    Args:
        caller: who opened it.
        context: the call.
        writers: take the frames.
        changes: tells of campaigns this stream reports to.
        generation: the identity of the store.
        stopping: set when the service stops.
    """

    def __init__(
        self,
        caller: Caller,
        context: grpc.aio.ServicerContext[Any, Any],
        *,
        writers: WriterPool,
        changes: Notifier,
        generation: str,
        stopping: asyncio.Event,
    ) -> None:
        self._caller = caller
        self._context = context
        self._writers = writers
        self._changes = changes
        self._generation = generation
        self._stopping = stopping
        self._received = 0  # the highest frame number without a gap
        self._acked = 0
        self._waiting: deque[tuple[int, str, asyncio.Future[FrameReceipt]]] = deque()
        self._listening: set[CampaignKey] = set()
        self._sent: dict[CampaignKey, _Known] = {}
        self._latest: dict[CampaignKey, _Known] = {}
        self._next = status_pb2.ReportResultsResponse()  # what is to be told, as it gathers
        self._news = False  # there is something in it; or a frame came again
        self._reading = True
        self._wake = asyncio.Event()

    async def run(self, requests: Any) -> None:
        """Serve the stream to its end.

        Raises:
            FrameOutOfOrderError: a frame number was left out.
            ShuttingDownError: the service stops; what was acknowledged is stored.
        """
        reader = asyncio.create_task(self._read(requests))
        stop = asyncio.create_task(self._stopping.wait())
        reader.add_done_callback(lambda _: self._end_reading())
        stop.add_done_callback(lambda _: reader.cancel())
        try:
            await self._answer()
            if self._stopping.is_set():
                raise ShuttingDownError("the service stops; report to another or try again")
            await reader
        finally:
            reader.cancel()
            stop.cancel()
            await asyncio.gather(reader, stop, return_exceptions=True)
            for key in self._listening:
                self._changes.remove(key, self._on_change)
            for _, _, receipt in self._waiting:
                receipt.add_done_callback(_retrieved)

    async def _read(self, requests: Any) -> None:
        async for request in requests:
            if request.frame != self._received + 1:
                if 0 < request.frame <= self._received:
                    self._news = True  # its acknowledgement comes again, too
                    self._wake.set()
                    continue
                raise FrameOutOfOrderError(frame=request.frame, expected=self._received + 1)
            receipt = await self._submit(request)
            self._received = request.frame
            self._waiting.append((request.frame, request.campaign_id, receipt))
            receipt.add_done_callback(lambda _: self._gather())

    async def _submit(
        self, request: status_pb2.ReportResultsRequest
    ) -> asyncio.Future[FrameReceipt]:
        try:
            key = CampaignKey(
                self._caller.organisation, validation.campaign_id(request.campaign_id)
            )
            reporter = validation.text("reporter", request.reporter, _REPORTER)
            results = validation.results(request.results)
        except InvalidRequestError as error:
            rejected: asyncio.Future[FrameReceipt] = asyncio.get_running_loop().create_future()
            rejected.set_result(FrameReceipt(error=error))
            return rejected
        receipt = await self._writers.submit(Frame(key, reporter or self._caller.actor, results))
        self._listen(key)  # queued, not stored yet: no later change is missed
        return receipt

    def _end_reading(self) -> None:
        self._reading = False
        self._wake.set()

    async def _answer(self) -> None:
        while True:
            # Asked before the answer is made: what comes in meanwhile wakes again.
            ended = not self._reading and not self._waiting
            response = self._next_response()
            if response is not None:
                await self._context.write(response)
            if ended:
                return
            if self._reading or self._waiting:
                await self._wake.wait()
            self._wake.clear()

    def _gather(self) -> None:
        """Take up the receipts of what is stored, in order of the frames.

        Done as they come: a client that does not read costs one answer, not one a frame.
        """
        while self._waiting and self._waiting[0][2].done() and not self._waiting[0][2].exception():
            frame, campaign_id, receipt = self._waiting.popleft()
            self._fold(self._next, frame, campaign_id, receipt.result())
            self._acked = frame
            self._news = True
        self._wake.set()

    def _next_response(self) -> status_pb2.ReportResultsResponse | None:
        """Return what there is to tell, if anything.

        Raises:
            Exception: all else was told, and what the next frame failed with is left.
        """
        response = self._next
        for key, latest in self._latest.items():
            sent = self._sent.get(key)
            self._sent[key] = latest
            if sent is None or sent.state is not latest.state:
                response.campaign_states.append(campaign_state(key.campaign_id, *latest))
                self._news = True
        self._latest.clear()
        failed = bool(self._waiting) and self._waiting[0][2].done()
        if not self._news:
            if failed:
                self._waiting[0][2].result()
            return None
        if failed:
            self._wake.set()  # come back for it
        self._news = False
        self._next = status_pb2.ReportResultsResponse()
        response.acked_through = self._acked
        response.store_generation = self._generation
        return response

    def _fold(
        self,
        response: status_pb2.ReportResultsResponse,
        frame: int,
        campaign_id: str,
        receipt: FrameReceipt,
    ) -> None:
        response.new_results += receipt.new
        response.raised_results += receipt.raised
        response.duplicate_results += receipt.duplicate
        if receipt.error is not None:
            response.rejections.append(_rejection(frame, campaign_id, receipt.error))
        key = CampaignKey(self._caller.organisation, campaign_id)
        if receipt.state is not None:
            self._listen(key)
            self._learn(key, _Known(receipt.state, receipt.revision, receipt.processed))
        elif isinstance(receipt.error, CampaignNotFoundError):
            self._forget(key)
            # One that is registered again begins with revision 1.
            self._sent.pop(key, None)
            self._latest.pop(key, None)

    def _listen(self, key: CampaignKey) -> None:
        if key not in self._listening:
            self._listening.add(key)
            self._changes.add(key, self._on_change)

    def _forget(self, key: CampaignKey) -> None:
        """Stop listening to a campaign there is none of, unless a frame of it follows."""
        followed = any(campaign_id == key.campaign_id for _, campaign_id, _ in self._waiting)
        if key in self._listening and not followed:
            self._listening.remove(key)
            self._changes.remove(key, self._on_change)

    def _on_change(self, change: Change) -> None:
        self._learn(change.key, _Known(change.state, change.revision, change.counters.processed))
        self._wake.set()

    def _learn(self, key: CampaignKey, known: _Known) -> None:
        """Take a state from a receipt or a change; an older one than is known is ignored.

        The two have no common order: a receipt may wait behind a locked row while newer
        changes arrive.
        """
        before = self._latest.get(key) or self._sent.get(key)
        if before is None or known.revision > before.revision:
            self._latest[key] = known


class _Known(NamedTuple):
    """What a stream knows of a campaign."""

    state: State
    revision: int
    processed: int


def _rejection(
    frame: int, campaign_id: str, error: ServiceError
) -> status_pb2.ReportResultsResponse.FrameRejection:
    log.warning(
        "frame_rejected", campaign_id=campaign_id, reason=error.reason, message=error.message
    )
    return status_pb2.ReportResultsResponse.FrameRejection(
        frame=frame, campaign_id=campaign_id, rejection=rejection(error)
    )


def _retrieved(receipt: asyncio.Future[FrameReceipt]) -> None:
    """Take note of a failure nobody is left to be told of; the writer logged it."""
    if not receipt.cancelled():
        receipt.exception()
