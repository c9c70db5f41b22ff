"""A writer for each connection that writes, and which campaign goes to which.

A campaign stays with one writer as long as frames of it are not done, so no two
transactions of a process want the same row. Of two writers, one prepares its statements
while the database is busy with those of the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from status_service.recording.group_commit import GroupCommitter
from status_service.recording.meter import Meter

if TYPE_CHECKING:
    from service_runtime.database import Store
    from status_service.recording.notifier import Notifier
    from status_service.recording.turns import Turns
    from status_service.recording.types import CampaignKey, Entry, Frame, FrameReceipt


@dataclass(slots=True)
class _Campaign:
    """A campaign with frames that are not done.

    Attributes:
        writer: the writer that has them.
        frames: how many they are.
        again: the last one that was done had no new result.
    """

    writer: GroupCommitter
    frames: int = 0
    again: bool = False


class WriterPool:
    """Takes the frames of all streams.

    Args:
        store: the database; says how many writers help.
        notifier: announces every campaign that changed.
        commit_results: at most so many results in one transaction, though always
            one frame.
        queue_frames: at most so many frames wait for each writer, and the first one of
            each stream.
        meter: counts what is committed.
    """

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        *,
        commit_results: int,
        queue_frames: int,
        meter: Meter | None = None,
    ) -> None:
        meter = meter or Meter()
        self._copies = store.dialect == "postgresql"
        company: list[Turns[Entry]] = []
        self._writers = [
            GroupCommitter(
                store,
                notifier,
                commit_results=commit_results,
                queue_frames=queue_frames,
                meter=meter,
                company=company,
            )
            for _ in range(store.writers)
        ]
        meter.watch_queue(
            lambda: sum(writer.waiting for writer in self._writers),
            queue_frames * len(self._writers),
        )
        self._campaigns: dict[CampaignKey, _Campaign] = {}

    async def submit(self, frame: Frame) -> asyncio.Future[FrameReceipt]:
        """Queue a frame, waiting for a place; return the future of its receipt.

        The future is done when the frame is durable. It fails with
        ShuttingDownError if the writer stops before that.
        """
        campaign = self._campaigns.get(frame.key)
        if campaign is None:
            campaign = _Campaign(min(self._writers, key=self._load))
            self._campaigns[frame.key] = campaign
        campaign.frames += 1
        if self._copies and not campaign.again:
            frame.results.make_lines()  # here, while the writer waits for the database
        try:
            receipt = await campaign.writer.submit(frame)
        except asyncio.CancelledError:
            self._done(frame.key, campaign)
            raise
        receipt.add_done_callback(lambda done: self._done(frame.key, campaign, done))
        return receipt

    async def run(self) -> None:
        """Write, for ever. Ended by cancelling it after :meth:`flush`."""
        async with asyncio.TaskGroup() as tasks:
            for writer in self._writers:
                tasks.create_task(writer.run())

    async def flush(self, timeout_seconds: float) -> None:
        """Write what waits; what can't be written in time fails with ShuttingDownError."""
        await asyncio.gather(*(writer.flush(timeout_seconds) for writer in self._writers))

    def _load(self, writer: GroupCommitter) -> int:
        return sum(
            campaign.frames for campaign in self._campaigns.values() if campaign.writer is writer
        )

    def _done(
        self,
        key: CampaignKey,
        campaign: _Campaign,
        receipt: asyncio.Future[FrameReceipt] | None = None,
    ) -> None:
        campaign.frames -= 1
        if not campaign.frames:
            del self._campaigns[key]
        if receipt and not receipt.cancelled() and not receipt.exception():
            campaign.again = not receipt.result().new
