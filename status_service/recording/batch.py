"""Results of several campaigns in one call, answered once they are stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service_runtime.errors import ShuttingDownError, StoreUnavailableError
from status_service.recording.types import retrieved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service_runtime.database import Store
    from status_service.recording.types import Frame, FrameReceipt
    from status_service.recording.writer_pool import WriterPool

#: How often a call that waits asks whether there is still anything to wait for, seconds.
_CHECK_SECONDS = 0.25


class BatchRecorder:
    """Stores frames of unary calls by the writers that store those of the streams.

    Args:
        store: the database.
        writer_pool: takes the frames.
        stopping: set when the service stops.
    """

    def __init__(self, store: Store, writer_pool: WriterPool, stopping: asyncio.Event) -> None:
        self._store = store
        self._writer_pool = writer_pool
        self._stopping = stopping

    async def record(self, frames: Sequence[Frame]) -> list[FrameReceipt]:
        """Store frames, each applied or refused as a whole; return their receipts in order.

        What was queued is stored also where this fails or is cancelled: then the outcome
        is not known, and the same frames can be recorded again.

        Raises:
            StoreUnavailableError: the database does not answer.
            ShuttingDownError: the service stops.
        """
        recording = [asyncio.create_task(self._record(frame)) for frame in frames]
        try:
            await self._stored(recording)
        finally:
            for task in recording:
                task.cancel()
            await asyncio.gather(*recording, return_exceptions=True)
        return [task.result() for task in recording]

    async def _record(self, frame: Frame) -> FrameReceipt:
        receipt = await self._writer_pool.submit(frame)
        try:
            await asyncio.wait([receipt])
        except asyncio.CancelledError:
            # The writer still has the frame, and its receipt: to cancel that would look as
            # if the frame was done.
            receipt.add_done_callback(retrieved)
            raise
        return receipt.result()

    async def _stored(self, recording: Sequence[asyncio.Task[FrameReceipt]]) -> None:
        """Wait until all is stored, as long as that can be expected.

        The writers try again for as long as it takes. A stream waits for that; a call is
        better repeated, since its caller has a deadline.
        """
        while (await asyncio.wait(recording, timeout=_CHECK_SECONDS))[1]:
            if self._stopping.is_set():
                raise ShuttingDownError("the service stops; report the results again")
            if not self._store.answering:
                raise StoreUnavailableError(
                    f"{self._store.failure}; report the results again", retry_after_seconds=1.0
                )
