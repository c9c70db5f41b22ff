"""One stream of results: frames in, acknowledgements and changes of state out.

Reading and answering run side by side, so neither side can block the other. A
frame belongs to a writer from the moment it is read: what becomes of the stream
does not change what becomes of the frame, and the end of a stream means nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from closeout.status.v1 import status_pb2
from service_runtime.errors import InvalidRequestError, ShuttingDownError
from status_service.errors import (
    CampaignNotFoundError,
    FrameOutOfOrderError,
    StoreWentBackError,
)
from status_service.grpc_api import validation
from status_service.grpc_api.messages import campaign_state, rejection
from status_service.recording.types import (
    CampaignKey,
    Change,
    Frame,
    FrameReceipt,
    Origin,
    retrieved,
)

if TYPE_CHECKING:
    import grpc

    from service_runtime.caller import Caller
    from service_runtime.sampled_log import SampledLog
    from status_service.domain import State
    from status_service.recording.notifier import Notifier
    from status_service.recording.writer_pool import WriterPool

#: Frames of one stream that are not answered yet, be it that they are not settled or that
#: the client does not read; further ones are left unread.
_MOST_FRAMES = 1_000
#: Campaigns that have ended and are listened to still.
_ENDED_KEPT = 1
#: As much of a campaign id is kept, characters; a valid one is no longer.
LONGEST_ID = 128


class ResultStream:
    """The server's side of one ReportResults call.

    Args:
        caller: who opened it.
        context: the call.
        writer_pool: takes the frames.
        notifier: announces changes of the campaigns that this stream reports to.
        rejection_log: logs refused frames.
        generation: the identity of the store.
        stopping: set when the service stops.
    """

    def __init__(
        self,
        caller: Caller,
        context: grpc.aio.ServicerContext[Any, Any],
        *,
        writer_pool: WriterPool,
        notifier: Notifier,
        rejection_log: SampledLog,
        generation: str,
        stopping: asyncio.Event,
    ) -> None:
        self._caller = caller
        self._context = context
        self._writer_pool = writer_pool
        self._notifier = notifier
        self._rejection_log = rejection_log
        self._generation = generation
        self._stopping = stopping
        self._origin = Origin()
        self._received = 0  # the highest frame number without a gap
        self._acked = 0
        self._answered = 0  # the frame up to which an answer was written
        self._waiting: deque[tuple[int, str, asyncio.Future[FrameReceipt]]] = deque()
        self._listening: set[CampaignKey] = set()
        self._known: dict[CampaignKey, _Known] = {}  # the highest revision of each campaign
        self._changed: dict[CampaignKey, None] = {}  # those of them to announce, in order
        self._announced: dict[CampaignKey, State] = {}
        self._ended: dict[CampaignKey, None] = {}  # announced as terminal, in that order
        self._next = status_pb2.ReportResultsResponse()  # the next answer, as it gathers
        self._news = False  # the next answer says something, or a frame came again
        self._went_back: StoreWentBackError | None = None
        self._reading = True
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self, requests: Any) -> None:
        """Serve the stream to its end.

        Raises:
            FrameOutOfOrderError: a frame number was left out.
            ShuttingDownError: the service stops; what was acknowledged is stored.
            StoreWentBackError: the database lost a revision that was announced.
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
            self._origin.is_over = True
            reader.cancel()
            stop.cancel()
            # Before anything is awaited: the call may be cancelled a second time.
            for key in self._listening:
                self._notifier.remove(key, self._on_change)
            for _, _, receipt in self._waiting:
                receipt.add_done_callback(retrieved)
            await asyncio.gather(reader, stop, return_exceptions=True)

    async def _read(self, requests: Any) -> None:
        async for request in requests:
            if request.frame != self._received + 1:
                if 0 < request.frame <= self._received:
                    self._news = True  # its acknowledgement comes again, too
                    self._wake.set()
                    continue
                raise FrameOutOfOrderError(frame=request.frame, expected=self._received + 1)
            while self._received - self._answered >= _MOST_FRAMES:
                self._room.clear()
                await self._room.wait()
            receipt = await self._submit(request)
            self._received = request.frame
            campaign_id = request.campaign_id[:LONGEST_ID]
            self._waiting.append((request.frame, campaign_id, receipt))
            receipt.add_done_callback(lambda _: self._gather())

    async def _submit(
        self, request: status_pb2.ReportResultsRequest
    ) -> asyncio.Future[FrameReceipt]:
        try:
            reporter, [(campaign_id, results, problems)] = validation.frame(request)
        except InvalidRequestError as error:
            rejected: asyncio.Future[FrameReceipt] = asyncio.get_running_loop().create_future()
            rejected.set_result(FrameReceipt(error=error))
            return rejected
        key = CampaignKey(self._caller.organisation, campaign_id)
        caller = self._caller
        frame = Frame(
            key,
            reporter or caller.actor,
            results,
            problems,
            self._origin,
            caller if caller.key_id else None,
        )
        receipt = await self._writer_pool.submit(frame)
        self._listen(key)  # queued, not stored yet: no later change is missed
        return receipt

    def _end_reading(self) -> None:
        self._reading = False
        self._wake.set()

    async def _answer(self) -> None:
        while True:
            # Read before the answer is made: what comes in meanwhile wakes again.
            ended = not self._reading and not self._waiting
            response = self._next_response()
            if response is not None:
                await self._context.write(response)
                self._answered = response.acked_through
                self._room.set()
            if ended:
                return
            if self._reading or self._waiting:
                await self._wake.wait()
            self._wake.clear()

    def _gather(self) -> None:
        """Add the receipts of what is stored to the next answer, in order of the frames.

        Done as they come: a client that does not read costs one answer, not one a frame.
        """
        while self._waiting and self._waiting[0][2].done() and not self._waiting[0][2].exception():
            frame, campaign_id, receipt = self._waiting.popleft()
            self._fold(self._next, frame, campaign_id, receipt.result())
            self._acked = frame
            self._news = True
        self._wake.set()

    def _next_response(self) -> status_pb2.ReportResultsResponse | None:
        """Return the next answer, if there is anything to say.

        Raises:
            StoreWentBackError: the database lost a revision that was announced.
            Exception: everything else was said, and the next frame failed with it.
        """
        if self._went_back is not None:
            raise self._went_back
        response = self._next
        for key in self._changed:
            known = self._known[key]
            if self._announced.get(key) is not known.state:
                self._announced[key] = known.state
                response.campaign_states.append(campaign_state(key.campaign_id, *known))
                self._news = True
                if known.state.is_terminal:
                    self._ended.pop(key, None)
                    self._ended[key] = None
        self._changed.clear()
        self._let_go()
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
            self._rejection_log.add_error(
                receipt.error, campaign_id=campaign_id, organisation=self._caller.organisation
            )
            response.rejections.add(
                frame=frame, campaign_id=campaign_id, rejection=rejection(receipt.error)
            )
        key = CampaignKey(self._caller.organisation, campaign_id)
        if receipt.state is not None:
            self._listen(key)
            self._notifier.note(key, receipt.revision)
            self._learn(key, _Known(receipt.state, receipt.revision, receipt.processed))
        elif isinstance(receipt.error, CampaignNotFoundError):
            self._forget(key)

    def _listen(self, key: CampaignKey) -> None:
        if key not in self._listening:
            self._listening.add(key)
            self._notifier.add(key, self._on_change)

    def _forget(self, key: CampaignKey) -> None:
        """Forget a campaign that does not exist, and stop listening unless a frame follows."""
        # One that is registered again begins with revision 1.
        for kept in (self._known, self._changed, self._announced, self._ended):
            kept.pop(key, None)
        followed = any(campaign_id == key.campaign_id for _, campaign_id, _ in self._waiting)
        if key in self._listening and not followed:
            self._listening.remove(key)
            self._notifier.remove(key, self._on_change)

    def _let_go(self) -> None:
        """Forget campaigns that have ended: nothing of them is to be announced any more.

        The last one stays, since it shows that the database went back: what ended before it
        is lost only together with it. One with frames that wait stays until they are
        answered, since a receipt may be older than the end.
        """
        if len(self._ended) <= _ENDED_KEPT:
            return
        awaited = {campaign_id for _, campaign_id, _ in self._waiting}
        for key in list(self._ended)[:-_ENDED_KEPT]:
            if key.campaign_id not in awaited:
                self._forget(key)

    def _on_change(self, change: Change) -> None:
        known = self._known.get(change.key)
        found = change.went_back_to
        if found is not None and known is not None and found < known.revision:
            self._went_back = StoreWentBackError(
                change.key.campaign_id, announced=known.revision, current=found
            )
        if change.revision:  # 0: there is no such campaign
            self._learn(
                change.key, _Known(change.state, change.revision, change.counters.processed)
            )
        # Counters alone are no news for a stream, and they may change with each commit.
        if self._went_back is not None or self._announced.get(change.key) is not change.state:
            self._wake.set()

    def _learn(self, key: CampaignKey, known: _Known) -> None:
        """Take a state from a receipt or a change, unless a later revision is known.

        The two have no common order: a receipt may wait behind a locked row while newer
        changes arrive.
        """
        before = self._known.get(key)
        if before is None or known.revision > before.revision:
            self._known[key] = known
            self._changed[key] = None


class _Known(NamedTuple):
    """A campaign's state at the highest revision that a stream knows."""

    state: State
    revision: int
    processed: int
