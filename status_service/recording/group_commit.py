"""Group commit: the frames of all streams, written by one task, many at a time.

Frames wait in a bounded queue, so a slow disk slows the senders and never fills
the memory. The writer takes what is there, by turns of the streams, writes it in one
transaction, and only then is any frame of it acknowledged. While one batch is being
written the next one gathers by itself, so there is no delay to tune.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from service_runtime import tracing
from service_runtime.errors import ShuttingDownError, StoreBusyError
from status_service.domain import Cause
from status_service.errors import CampaignBusyError
from status_service.recording.count_waits import CountWaits
from status_service.recording.frame_queue import FrameQueue
from status_service.recording.meter import Meter
from status_service.recording.pace import Pace
from status_service.recording.recorder import Recorder
from status_service.recording.transitions import log_state_change
from status_service.recording.types import Entry, FrameReceipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service_runtime.database import Store
    from status_service.recording.counting import Count
    from status_service.recording.notifier import Notifier
    from status_service.recording.turns import Turns
    from status_service.recording.types import CampaignKey, Frame, Recorded

log = structlog.get_logger()

#: How long a transaction lasts about, while streams report little beside others, seconds.
_BESIDE_LITTLE_SECONDS = 0.01
#: How long a write that goes on at the end of a stop is waited for, seconds.
_LAST_WRITE_SECONDS = 0.25


class GroupCommitter:
    """Writes frames through the ledger.

    Args:
        store: the database.
        notifier: announces every campaign that changed.
        commit_results: at most so many results in one transaction, though always
            one frame.
        queue_frames: at most so many frames wait, and the first one of each stream.
        meter: counts what is committed.
        company: the turns of all writers of the process, see :class:`Turns`.
    """

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        *,
        commit_results: int,
        queue_frames: int,
        meter: Meter | None = None,
        company: list[Turns[Entry]] | None = None,
    ) -> None:
        self._meter = meter or Meter()
        self._store = store
        self._notifier = notifier
        self._queue: FrameQueue[Entry] = FrameQueue(
            batch_results=commit_results, places=queue_frames, company=company
        )
        self._queue_frames = queue_frames
        self._commit_results = commit_results
        self._pace = Pace()
        self._recorder = Recorder(store, notifier, self._meter)
        self._count_waits = CountWaits(
            store,
            write=self._write,
            fail=lambda entry, error: _fail(entry.receipt, error),
            done=self._queue.done,
            stopping=self._recorder.stopping,
        )

    @property
    def waiting(self) -> int:
        """How many frames wait; one of more than 500 results counts as several."""
        return self._queue.waiting

    async def submit(self, frame: Frame) -> asyncio.Future[FrameReceipt]:
        """Queue a frame, waiting for a place; return the future of its receipt.

        The future is done when the frame is durable. It fails with
        ShuttingDownError if the writer stops before that.
        """
        loop = asyncio.get_running_loop()
        receipt: asyncio.Future[FrameReceipt] = loop.create_future()
        entry = Entry(frame, receipt, loop.time(), tracing.origin())
        await self._queue.put(frame.origin, entry, frame.results.size)
        return receipt

    async def run(self) -> None:
        """Write batch after batch, for ever. Ended by cancelling it after :meth:`flush`.

        A whole transaction may begin before the one before it has ended, where a connection
        has nothing to do: its results are copied while the other one is committed. Problems
        never do: the later ones hold, so they are written after those before them.
        """
        before: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as writes:
                while True:
                    batch = await self._queue.take(
                        beside_little=self._pace.results_within(_BESIDE_LITTLE_SECONDS)
                    )
                    if before is not None and _have_problems(batch):
                        await before
                    write = writes.create_task(self._settle(batch))
                    if before is not None:
                        await before  # two at once, no more
                    await self._turn_of_next(batch, write)
                    await self._count_waits.fewer_than(self._queue_frames)
                    before = None if write.done() else write
        finally:
            await self._count_waits.close()

    async def _settle(self, batch: Sequence[Entry]) -> None:
        self._queue.done(await self._write(batch))

    async def _turn_of_next(self, batch: Sequence[Entry], write: asyncio.Task[None]) -> None:
        """Return when the transaction behind this one may begin."""
        results = sum(entry.frame.results.size for entry in batch)
        if self._store.writers > 1 and results >= self._commit_results:
            whole = asyncio.create_task(self._queue.whole())
            try:
                await asyncio.wait({write, whole}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                whole.cancel()
            if self._store.has_free_writer:
                return
        await write

    async def flush(self, timeout_seconds: float) -> None:
        """Write what waits; what can't be written in time fails with ShuttingDownError.

        Where a write hangs, what it has is left as it is: nobody can know its outcome.
        """
        if await self._written(timeout_seconds):
            return
        self._recorder.stopping.set()
        if not await self._written(_LAST_WRITE_SECONDS):
            log.warning("write_left_behind", frames=self._queue.waiting, acknowledged=0)

    async def _written(self, seconds: float) -> bool:
        """Wait until nothing is left to write; return whether that was so in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            return False
        return True

    async def _write(
        self, batch: Sequence[Entry], counts: Mapping[CampaignKey, Count] | None = None
    ) -> int:
        """Write a batch; return how many of its frames do not wait for a count.

        Args:
            batch: the frames.
            counts: the results of their campaigns, as far as they were counted for this.
        """
        clock = asyncio.get_running_loop().time
        begin = clock()
        frames = [entry.frame for entry in batch]
        try:
            spans = [entry.span for entry in batch]
            recorded = await self._recorder.record(frames, spans, counts or {})
        except ShuttingDownError as error:
            for entry in batch:
                _fail(entry.receipt, error)
        except StoreBusyError:
            return await self._put_aside(batch, counts)
        except Exception as error:
            # A defect. One frame must not take the others with it.
            log.exception("record_failed", frames=len(batch))
            if len(batch) == 1:
                _fail(batch[0].receipt, error)
                return 1
            return sum([await self._write([entry], counts) for entry in batch])
        else:
            uncounted = []
            for entry, result in zip(batch, recorded.receipts, strict=True):
                if result.error is None and entry.frame.key in recorded.uncounted:
                    uncounted.append(entry)
                elif not entry.receipt.done():
                    entry.receipt.set_result(result)
            self._count_waits.add(uncounted, recorded.uncounted)
            self._announce(recorded)
            seconds = clock() - begin
            results = sum(frame.results.size for frame in frames)
            self._pace.note(results, seconds)
            self._meter.committed(frames, recorded, seconds)
            log.debug(
                "results_recorded",
                frames=len(batch),
                results=results,
                queue_seconds=begin - batch[0].submit_time,
                write_seconds=seconds,
                queued_frames=self._queue.waiting,
            )
            return len(batch) - len(uncounted)
        return len(batch)

    async def _put_aside(
        self, batch: Sequence[Entry], counts: Mapping[CampaignKey, Count] | None
    ) -> int:
        """Write the campaigns of a batch one by one, and refuse the one that others hold up."""
        campaigns: dict[CampaignKey, list[Entry]] = {}
        for entry in batch:
            campaigns.setdefault(entry.frame.key, []).append(entry)
        if len(campaigns) > 1:
            return sum([await self._write(part, counts) for part in campaigns.values()])
        for entry in batch:
            if not entry.receipt.done():
                error = CampaignBusyError(entry.frame.key.campaign_id)
                entry.receipt.set_result(FrameReceipt(error=error))
        return len(batch)

    def _announce(self, recorded: Recorded) -> None:
        """Publish and log what a batch changed, now that it is durable."""
        self._notifier.publish(recorded.changes)
        for completion in recorded.completed:
            self._meter.changed(completion.change.state, Cause.RESULT)
            log_state_change(
                completion.change,
                before=completion.before,
                cause=Cause.RESULT,
                actor=completion.last.actor,
                on_behalf_of=completion.last.on_behalf_of,
            )
        for change in recorded.late:
            log.info(
                "late_results_applied",
                campaign_id=change.key.campaign_id,
                organisation=change.key.organisation,
            )


def _have_problems(batch: Sequence[Entry]) -> bool:
    return any(entry.frame.problems is not None for entry in batch)


def _fail(receipt: asyncio.Future[FrameReceipt], error: Exception) -> None:
    if not receipt.done():
        receipt.set_exception(error)
