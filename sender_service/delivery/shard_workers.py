"""The worker tasks of a run over one shard: render, hand over, note what became of it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from sender_service.channels.contract import Handover
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.delivery.dispatch import abandoned, dispatch
from sender_service.delivery.gate import Held
from sender_service.delivery.rendering import RENDERING_WAIT_SECONDS, rendered
from sender_service.verdicts import Answer, Requeue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sender_service.channels.rendering.bounded import ReadyTemplate
    from sender_service.delivery.gate import Gate, Judgement
    from sender_service.delivery.plan import DeliveryPlan
    from sender_service.delivery.shard_commits import ShardCommits
    from sender_service.store.batch import PendingMessage

#: A worker lets others run after so many messages a channel took at once.
_MESSAGES_A_TURN = 64


class ShardWorkers:
    """What the workers of one run have before them.

    Args:
        plan: what is the same for all messages.
        gate: whether the provider takes messages; half open, it takes one at a time.
        commits: what became of messages goes there.
        may_dispatch: called before each message.
        progress: set when a commit may be worth it.

    Attributes:
        window: how many messages may be in doubt.
    """

    def __init__(
        self,
        plan: DeliveryPlan,
        gate: Gate,
        commits: ShardCommits,
        *,
        may_dispatch: Callable[[], bool],
        progress: asyncio.Event,
    ) -> None:
        self._plan = plan
        self._gate = gate
        self._commits = commits
        self._tally = gate.shared.tally
        self._may_dispatch = may_dispatch
        self._progress = progress
        self.window = plan.window if gate.is_closed else 1
        self._queue: deque[PendingMessage] = deque()
        #: The calls that run, by the task of their worker.
        self._calls: dict[asyncio.Task[None], Handover] = {}
        self._work = asyncio.Event()

    @property
    def has_messages(self) -> bool:
        """Whether messages wait to be handed over."""
        return bool(self._queue)

    def add(self, messages: Iterable[PendingMessage]) -> None:
        """Give the workers messages that a commit has taken."""
        self._queue.extend(messages)
        self.wake()

    def wake(self) -> None:
        """Let workers that sleep look for work."""
        self._work.set()

    def tasks(self, messages: int) -> list[asyncio.Task[None]]:
        """Return the tasks of as many workers as may be useful for so many messages."""
        workers = min(self._plan.channel.concurrency, self._plan.window, messages)
        return [asyncio.create_task(self._work_through()) for _ in range(workers)]

    def hand_back(self) -> None:
        """Cancel the calls whose message nobody has yet."""
        for worker, handover in self._calls.items():
            # Nothing is awaited between the look and the cancellation. A call that
            # begins the handover even so is found out when it has ended.
            if not handover.begun and not worker.cancelling():
                worker.cancel()

    def requeue_all(self) -> None:
        """Requeue what was taken and not handed over: it is not in doubt."""
        while self._queue:
            self._commits.requeue(self._queue.popleft())

    async def _work_through(self) -> None:
        """Dispatch what is in the queue, one message at a time, until cancelled."""
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101 - this is a coroutine of a task
        in_turn = 0
        while True:
            if not self._queue or not self._may_dispatch():
                self._work.clear()
                self._progress.set()
                await self._work.wait()
                continue
            if self._plan.renders_elsewhere:
                await self._render_and_dispatch(worker, self._queue.popleft())
            else:
                async with self._plan.limit:
                    if not self._queue or not self._may_dispatch():
                        continue
                    await self._dispatch(worker, self._queue.popleft())
            # The first one starts the clock of the commit, the others may be enough.
            if self._commits.waiting in {1, self.window // 2, self._commits.in_doubt}:
                self._progress.set()
            in_turn += 1
            if in_turn == _MESSAGES_A_TURN:
                in_turn = 0
                await asyncio.sleep(0)

    async def _render_and_dispatch(
        self, worker: asyncio.Task[None], message: PendingMessage
    ) -> None:
        """Hand over a message that takes long to render; nothing waits for it meanwhile."""
        self._calls[worker] = Handover(stage="before it was rendered")
        try:
            ready = await rendered(self._plan, message)
            await self._plan.limit.acquire()
        except WorkerUnavailableError:
            self._commits.requeue(message, delay_seconds=RENDERING_WAIT_SECONDS)
            return
        except asyncio.CancelledError:
            self._commits.requeue(message)
            self._progress.set()
            raise
        finally:
            del self._calls[worker]
        try:
            if self._may_dispatch():
                await self._dispatch(worker, message, ready)
            else:
                self._commits.requeue(message)
        finally:
            self._plan.limit.release()

    async def _dispatch(
        self,
        worker: asyncio.Task[None],
        message: PendingMessage,
        ready: ReadyTemplate | None = None,
    ) -> None:
        handover = Handover()
        self._calls[worker] = handover
        self._tally.in_flight += 1
        self._gate.dispatching(handover)
        try:
            done = await dispatch(self._plan, message, handover, ready)
        except OverBudgetError:
            self._plan.render_elsewhere()
            self._queue.appendleft(message)
            return
        except asyncio.CancelledError:
            if handover.begun:
                self._tally.answers[Answer.LOST] += 1
                self._write_down(message, *abandoned(self._plan, message, handover))
            else:
                self._commits.requeue(message)
            self._progress.set()
            raise
        finally:
            self._tally.in_flight -= 1
            del self._calls[worker]
        self._tally.answers[done.reply.answer] += 1
        effect = self._gate.judge(message.sequence, done.reply, done.effect, message.attempts)
        if self.window != self._plan.window and self._gate.is_closed:
            self.window = self._plan.window
        self._write_down(message, effect, done.begin_time)

    def _write_down(self, message: PendingMessage, effect: Judgement, begin_time: int) -> None:
        if isinstance(effect, Held):
            self._commits.requeue(message, delay_seconds=effect.delay_seconds)
        elif isinstance(effect, Requeue):
            self._commits.requeue(message)
        else:
            self._commits.finish(message, effect, begin_time)
