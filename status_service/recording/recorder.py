"""Records a batch of frames, again and again until the database takes it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service_runtime import tracing
from service_runtime.errors import ShuttingDownError, StoreBusyError, StoreUnavailableError
from status_service.recording import ahead, ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from opentelemetry.trace import SpanContext

    from service_runtime.database import Store
    from status_service.recording.counting import Count
    from status_service.recording.meter import Meter
    from status_service.recording.notifier import Notifier
    from status_service.recording.types import CampaignKey, Frame, Recorded

log = structlog.get_logger()

#: The first wait after a failed write, doubled up to the longest, seconds.
_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 5.0


class Recorder:
    """Records batches through the ledger.

    Args:
        store: the database.
        notifier: knows which revisions were announced.
        meter: counts writes that failed.

    Attributes:
        stopping: set when what waits is to be given up.
    """

    def __init__(self, store: Store, notifier: Notifier, meter: Meter) -> None:
        self._store = store
        self._notifier = notifier
        self._meter = meter
        self.stopping = asyncio.Event()

    async def record(
        self,
        frames: Sequence[Frame],
        origins: Sequence[SpanContext | None],
        counts: Mapping[CampaignKey, Count],
    ) -> Recorded:
        """Record a batch, the same batch again and again until the database takes it.

        The outcome of a commit that failed is not known; recording is idempotent, so
        that does not matter.

        Raises:
            ShuttingDownError: the time to write it is over.
            StoreBusyError: others hold rows of its results, not those of its campaigns.
        """
        backoff = _FIRST_BACKOFF
        failures = 0
        busy = False
        copy_ahead = not counts and ahead.may_copy(frames)
        while True:
            self._refuse_when_stopping()
            known = {frame.key: self._notifier.revision(frame.key) for frame in frames}
            work = partial(ledger.record, skip_busy=busy, counts=counts, copy_ahead=copy_ahead)
            try:
                recorded = await self._store.write(_traced(work, frames, origins))
            except ahead.NotAheadError:
                copy_ahead = False
            except StoreBusyError as error:
                if copy_ahead:
                    copy_ahead = False
                    continue
                if busy:
                    raise
                # One campaign must not hold up all others: its frames are refused.
                log.warning("campaign_locked_by_others", frames=len(frames), error=error.message)
                busy = True
            except StoreUnavailableError as error:
                failures += 1
                self._meter.commit_failed()
                log.error(  # noqa: TRY400 - the database's words say it, no stack does
                    "store_write_failed",
                    failures=failures,
                    retry_seconds=backoff,
                    frames=len(frames),
                    results=sum(frame.results.size for frame in frames),
                    error=str(error),
                )
                await self._wait(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)
            else:
                if failures:
                    log.info("store_write_recovered", failures=failures)
                recorded.changes = [
                    change.based_on(change.revision - 1, known=known[change.key])
                    for change in recorded.changes
                ]
                return recorded

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return

    def _refuse_when_stopping(self) -> None:
        """Give up what waits once the time to write it is over."""
        if self.stopping.is_set():
            raise ShuttingDownError("the service stops and could not store this; send it again")


def _traced(
    record: Callable[..., Recorded],
    frames: Sequence[Frame],
    origins: Sequence[SpanContext | None],
) -> Callable[[sa.Connection], Recorded]:
    """Return what records a batch; its span has a link to each call that brought frames."""

    def measure() -> dict[str, int]:
        results = sum(frame.results.size for frame in frames)
        return {"frames": len(frames), "results": results}

    return tracing.traced(partial(record, frames=frames), origins, measure)
