"""Publishes the outbox as webhooks: each event at least once, of one campaign in order.

One instance publishes at a time: whichever has the duty. It makes deliveries of new
events, tries those that are due, and writes what became of them; whatever it did not
write before it ended, the next one does again, with the same event id.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from service_runtime.errors import StoreUnavailableError
from service_runtime.repetition import repeat
from status_service.events import backoff, outbox, queue
from status_service.events.answer import TIMEOUT_SECONDS, Answer
from status_service.events.queue import Bounds, Tried
from status_service.recording import duty

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import sqlalchemy as sa

    from service_runtime.database import Store
    from status_service.events.courier import Courier
    from status_service.events.queue import Due

log = structlog.get_logger()

_DUTY: Final = "publish events"
#: How often the outbox is looked at, seconds.
_POLL = 0.5
#: How often the duty is kept, and asked for by the others, seconds.
_KEEP = 5.0
_BOUNDS: Final = Bounds()


class Publisher:
    """Publishes events while :meth:`run` runs.

    Args:
        store: the database.
        courier: delivers.
        stall_threshold: for the explanation of how a campaign stands.
        bounds: tries at once.
    """

    def __init__(
        self,
        store: Store,
        courier: Courier,
        *,
        stall_threshold: timedelta,
        bounds: Bounds = _BOUNDS,
    ) -> None:
        self._bounds = bounds
        self._store = store
        self._courier = courier
        self._stall_threshold = stall_threshold
        self._holder = secrets.token_hex(16)
        self._kept_until = 0.0  # on the monotonic clock, with room to spare
        self._asked = float("-inf")
        self._taking: set[asyncio.Task[datetime | None]] = set()
        self._tries: dict[asyncio.Task[None], tuple[int, int]] = {}
        self._tried: list[Tried] = []
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Publish, for ever. A database that does not answer is waited for."""
        try:
            # Results are stored and campaigns end whatever becomes of events.
            await repeat(
                self._round,
                rest=self._pause,
                postponed="event_publishing_postponed",
                failed="event_publishing_failed",
            )
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Stop, write what became of the last tries, and leave the duty to another instance."""
        for task in self._tries:
            task.cancel()
        # A take that is under way would come after what leaves the duty.
        await asyncio.gather(*self._tries, *self._taking, return_exceptions=True)
        try:
            await self._write_tried()
            await self._store.write(partial(duty.leave, duty=_DUTY, holder=self._holder))
        except StoreUnavailableError as error:
            log.warning("event_publishing_left", error=error.message)  # the duty ends by time

    async def _round(self) -> bool:
        """Do what is to be done now; return whether there may be more of it."""
        await self._write_tried()
        if not await self._on_duty():
            return False
        look = await self._store.read(
            partial(queue.look, busy=set(self._tries.values()), bounds=self._bounds)
        )
        if look.unpublished:
            await self._write(partial(outbox.publish, stall_threshold=self._stall_threshold))
        if look.deleted:
            await self._write(queue.purge)
        if look.astray:
            await self._write(queue.bring_back)
        for one in look.due:
            task = asyncio.create_task(self._try(one), name=f"deliver event {one.event}")
            self._tries[task] = (one.subscription, one.campaign)
            task.add_done_callback(lambda _: self._finished.set())
        return look.unpublished or look.deleted or bool(look.due)

    async def _write(self, work: Callable[[sa.Connection], None]) -> None:
        """Do what one instance alone may do, unless another one has the duty by now."""

        def guarded(connection: sa.Connection) -> None:
            if duty.holds(connection, _DUTY, self._holder):
                work(connection)

        await self._store.write(guarded)

    async def _on_duty(self) -> bool:
        now = time.monotonic()
        if now - self._asked >= _KEEP:
            self._asked = now
            take = partial(duty.take, duty=_DUTY, holder=self._holder)
            taking = asyncio.create_task(self._store.write(take))
            self._taking.add(taking)
            taking.add_done_callback(self._taking.discard)
            taken = await asyncio.shield(taking)
            if taken and self._kept_until <= now:
                log.info("event_publishing_begun")
            # Counted from before it was asked for, so never longer than the database has it.
            self._kept_until = now + duty.LEASE.total_seconds() if taken else 0.0
        return time.monotonic() < self._kept_until

    async def _try(self, one: Due) -> None:
        begun = time.monotonic()
        if begun + TIMEOUT_SECONDS > self._kept_until:
            return  # it could end when another instance delivers what comes after it
        try:
            answer = await self._courier.deliver(
                one.url, one.secret, event_id=one.event_id, body=one.body
            )
        except Exception:
            log.exception("event_delivery_failed", event_id=one.event_id)
            answer = Answer(delivered=False, text="a defect of this service; its log has more")
        first = one.first_time or one.now
        planned = None
        if not answer.delivered:
            planned = backoff.next_try(
                one.attempts + 1,
                first=first,
                now=one.now + timedelta(seconds=time.monotonic() - begun),
                asked=answer.asked,
                spread=random.random(),  # noqa: S311 - spreads load, hides nothing
            )
            log.warning(
                "event_not_delivered",
                event_id=one.event_id,
                attempts=one.attempts + 1,
                answer=answer.text,
                next_time=planned and planned.isoformat(),
            )
        self._tried.append(Tried(one, first, answer, planned))

    async def _write_tried(self) -> None:
        """Write what became of the tries that ended; forget them once that is durable.

        Until then nothing of the same campaign goes to the same subscription.
        """
        self._finished.clear()
        ended = [task for task in self._tries if task.done()]
        tried = list(self._tried)
        if tried:
            await self._store.write(partial(queue.record, tried=tried))
            del self._tried[: len(tried)]
        for task in ended:
            del self._tries[task]

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL):
                await self._finished.wait()
        except TimeoutError:
            return
