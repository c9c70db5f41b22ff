"""Rendering processes for the event loop: few, each started when it is needed first."""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sender_service.channels.rendering.frames import WorkerLimits
from sender_service.channels.rendering.worker_process import WorkerProcess

if TYPE_CHECKING:
    from sender_service.channels.rendering.frames import Frame


class TemplateWorkers:
    """A few processes that compile and render, and a thread for each that waits for it.

    Args:
        processes: how many at most; none runs before the first job.
        limits: what each may take.
    """

    def __init__(
        self,
        processes: int,
        limits: WorkerLimits = WorkerLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="rendering")
        self._all = [WorkerProcess(limits) for _ in range(processes)]
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)

    @property
    def pids(self) -> list[int]:
        """The processes that were started and not replaced yet."""
        return [worker.pid for worker in self._all if worker.pid]

    async def call(self, header: dict[str, Any], content: bytes) -> Frame:
        """Return the answer of a process to a request; see :meth:`WorkerProcess.call`.

        A call that is cancelled while a process works on it lets it finish in vain.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._call, header, content)

    async def close(self) -> None:
        """End the processes, whatever they do; what waits for them fails."""
        for worker in self._all:
            worker.close()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for worker in self._all:
            worker.reap()

    def _call(self, header: dict[str, Any], content: bytes) -> Frame:
        worker = self._idle.get()  # there are as many threads as processes
        try:
            return worker.call(header, content)
        finally:
            self._idle.put(worker)
