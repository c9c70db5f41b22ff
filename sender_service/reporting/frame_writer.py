"""Write frames to the stream: as many as may be in flight, as soon as there is something."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from closeout.status.v1 import status_pb2 as pb
from sender_service.reporting import wire
from sender_service.store import outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from sender_service.reporting.probe import Probe
    from sender_service.reporting.problem_reports import ProblemReports
    from sender_service.reporting.relay_queue import Frame, RelayQueue
    from service_runtime.database import Store

#: Frames of one stream that wait for their acknowledgement, at most.
FRAMES_IN_FLIGHT = 16

Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.ReportResultsRequest, pb.ReportResultsResponse]"


class FrameWriter:
    """Writes what is to be reported to one stream after another.

    Args:
        store: the sender's.
        queue: what is to be reported.
        problem_reports: the problems that are to be reported.
        probe: asks for an answer when nothing is to be reported.
        instance: the name of this process, for "who reported last".
        most_in_flight: how many frames may wait for their acknowledgement now.
    """

    def __init__(
        self,
        store: Store,
        queue: RelayQueue,
        problem_reports: ProblemReports,
        probe: Probe,
        *,
        instance: str,
        most_in_flight: Callable[[], int],
    ) -> None:
        self._most_in_flight = most_in_flight
        self._store = store
        self._queue = queue
        self._problem_reports = problem_reports
        self._probe = probe
        self._instance = instance
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._progress_time = 0.0
        self._connected_at: float | None = None

    def wake(self) -> None:
        """Look for something to report."""
        self._more.set()

    def progressed(self) -> None:
        """Note that frames were acknowledged."""
        self._progress_time = time.monotonic()
        self._room.set()

    @property
    def silent_seconds(self) -> float:
        """How long frames in flight have not been acknowledged; 0 if none is."""
        return time.monotonic() - self._progress_time if self._queue.in_flight else 0.0

    @property
    def connected_seconds(self) -> float:
        """How long ago the first frame of the present stream left; 0 if none did."""
        return 0.0 if self._connected_at is None else time.monotonic() - self._connected_at

    async def write(self, call: Call) -> None:
        """Write frames to a new stream, until cancelled.

        Raises:
            StoreUnavailableError: the store does not answer.
            asyncio.InvalidStateError: the call has ended.
            grpc.aio.AioRpcError: it has failed.
        """
        number = 0
        self._connected_at = None
        self._probe.heard(time.monotonic())
        while True:
            self._room.clear()
            if self._queue.in_flight >= self._most_in_flight():
                await self._room.wait()
                continue
            self._more.clear()
            now = time.monotonic()
            # Problems are few, and explain why results do not come.
            frame = self._problem_reports.next_frame(now) or self._queue.next_frame(now)
            if frame is None and not self._queue.in_flight:
                frame = self._probe.next_frame(now)
            if frame is None:
                await self._wait_for_more(now)
                continue
            number += 1
            request = await self._request(number, frame)
            if not self._queue.in_flight:
                self._progress_time = time.monotonic()
            self._queue.sent(number, frame)
            await call.write(request)
            if self._connected_at is None:  # without a connection the call would have failed
                self._connected_at = time.monotonic()

    async def _wait_for_more(self, now: float) -> None:
        times = [self._queue.next_hold_over(now), self._problem_reports.next_time(now)]
        if not self._queue.in_flight:
            times.append(self._probe.next_time())
        until = min((moment for moment in times if moment is not None), default=None)
        try:
            async with asyncio.timeout(None if until is None else until - now):
                await self._more.wait()
        except TimeoutError:
            return

    async def _request(self, number: int, frame: Frame) -> pb.ReportResultsRequest:
        request = pb.ReportResultsRequest(
            frame=number, campaign_id=frame.campaign.campaign_id, reporter=self._instance
        )
        problems = frame.problems
        if frame.page is not None:
            page = frame.page
            read = partial(outbox.read, key=page.key, after=page.after, limit=page.size)
            request.results.extend(map(wire.result, await self._store.read(read)))
        elif problems is None and not frame.is_probe:
            problems = self._problem_reports.beside_request(frame.campaign)
        if problems is not None:
            request.problems.CopyFrom(wire.problems(problems))
        return request
