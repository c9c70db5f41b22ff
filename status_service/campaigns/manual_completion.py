"""A completion by hand, from the decision on a snapshot to the last of its transactions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from service_runtime.errors import ShuttingDownError
from status_service.campaigns import mark_complete
from status_service.campaigns.types import Changed
from status_service.recording import counting, gaps
from status_service.recording.block_size import BlockSize
from status_service.recording.types import counters_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from status_service.recording.counting import Count

#: How long a transaction should take, seconds. On SQLite nobody else writes meanwhile; on
#: PostgreSQL others do, and each commit waits for the disk as long as for 1,000 rows.
_TARGET_SECONDS = {"sqlite": 0.025, "postgresql": 0.05}
#: Missing ranges that are kept at once, at most.
_RANGES = 20_000


class Request(NamedTuple):
    """What a caller asks for: :func:`.mark_complete.decide`."""

    caller: Caller
    campaign_id: str
    reason: str
    force: bool
    revision: int


@dataclass
class ManualCompletion:
    """Completes one campaign: reads in the lane of long reads, writes in blocks.

    Attributes:
        store: the database.
        change: runs a write transaction, and announces what it changed.
        stopping: set when the service stops; then no other block is begun.
        request: what is asked for.
    """

    store: Store
    change: Callable[[Callable[[sa.Connection], Changed]], Awaitable[Changed]]
    stopping: asyncio.Event
    request: Request
    #: Ranges that are known to have no result, and the message up to which all are known.
    _missing: Sequence[tuple[int, int]] = ()
    _looked_until: int = 0
    #: How many messages this call recorded as UNKNOWN.
    _forced: int = 0
    #: How many messages the next transaction records, and when the last one began.
    _size: BlockSize = field(init=False)
    _begun: float = 0.0
    _revision: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin with a small block, and with the revision that the caller names."""
        self._size = BlockSize(
            mark_complete.BLOCK, target_seconds=_TARGET_SECONDS[self.store.dialect]
        )
        self._revision = self.request.revision

    async def run(self) -> Changed:
        """Complete the campaign; return its row, and whether this call completed it.

        Raises:
            ShuttingDownError: the service stops. What is recorded stays, and the same call
                continues.
        """
        campaign, known = await self._decide()
        is_fresh = True
        while known is not None:
            if self.stopping.is_set():
                raise ShuttingDownError("the service stops; call again to continue")
            counters = known.counted if is_fresh else counters_of(campaign)
            pending = campaign.total - counters.processed
            block = await self._next_block(campaign) if pending > 0 else []
            if not is_fresh and pending <= gaps.messages_in(block):
                # This one may complete it, or nothing missing was found: both by a new count.
                campaign, known = await self._decide()
                is_fresh = True
                self._missing = [*block, *self._missing]
                continue
            try:
                changed = await self.change(self._work(known, block))
            except counting.UncountedError:
                campaign, known = await self._decide()
                is_fresh = True
                self._missing = [*block, *self._missing]
                continue
            campaign = changed.campaign
            # With its commit, for which others wait as well.
            self._size.took(gaps.messages_in(block), time.monotonic() - self._begun)
            self._forced += min(gaps.messages_in(block), changed.recorded_unknown)
            if changed.completed:
                return changed
            self._revision = 0  # the blocks of this call raise it
            is_fresh = False
        return Changed(campaign, transitioned=False, before=campaign)

    def _work(
        self, known: Count, block: Sequence[tuple[int, int]]
    ) -> Callable[[sa.Connection], Changed]:
        complete = partial(
            mark_complete.complete,
            caller=self.request.caller,
            campaign_id=self.request.campaign_id,
            reason=self.request.reason,
            count=known,
            missing=block,
            forced_before=self._forced,
            revision=self._revision,
        )

        def work(connection: sa.Connection) -> Changed:
            self._begun = time.monotonic()  # here, as it may have waited for its turn
            return complete(connection)

        return work

    async def _decide(self) -> tuple[sa.Row[Any], Count | None]:
        return await self.store.read_long(
            partial(
                mark_complete.decide,
                caller=self.request.caller,
                campaign_id=self.request.campaign_id,
                force=self.request.force,
                revision=self._revision,
            )
        )

    async def _next_block(self, campaign: sa.Row[Any]) -> Sequence[tuple[int, int]]:
        """Return the next ranges without a result; none: all were looked at, begin again."""
        while not self._missing and self._looked_until < campaign.total:
            found = await self.store.read_long(
                partial(
                    gaps.find,
                    campaign=campaign.campaign,
                    total=campaign.total,
                    limit=_RANGES,
                    after=self._looked_until,
                    most_windows=gaps.PAGE_WINDOWS,
                )
            )
            self._missing = found.ranges
            if found.stopped_at is not None:
                self._looked_until = found.stopped_at
            elif len(found.ranges) == _RANGES:
                self._looked_until = found.ranges[-1][1]
            else:
                self._looked_until = campaign.total
        block, self._missing = gaps.first_messages(self._missing, self._size.rows)
        if not block:
            self._looked_until = 0
        return block
