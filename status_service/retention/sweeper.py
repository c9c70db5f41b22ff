"""Removes what was deleted and what is kept no longer, in the background.

One instance does so at a time: whichever has the duty. It leaves as much time to others as
it takes, so results of other campaigns are stored beside it as before.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from service_runtime.repetition import repeat
from status_service.recording import duty
from status_service.recording.block_size import BlockSize
from status_service.retention import removal
from status_service.schema import campaigns, deleted_campaigns

if TYPE_CHECKING:
    from service_runtime.database import Store
    from status_service.retention.meter import RetentionMeter
    from status_service.retention.removal import Expiry, Removal, Step

log = structlog.get_logger()

_DUTY: Final = "remove"
#: How often something to remove is looked for, seconds.
LOOK_SECONDS = 2.0
_DONE = {"results": "results_removed", "events": "events_removed", "campaign": "campaign_removed"}


class Sweeper:
    """Removes while :meth:`run` runs.

    Args:
        store: the database.
        expiry: how long what is kept.
        meter: counts what is removed.
        look_seconds: how often something to remove is looked for; absent: LOOK_SECONDS.
    """

    def __init__(
        self,
        store: Store,
        expiry: Expiry,
        meter: RetentionMeter,
        *,
        look_seconds: float | None = None,
    ) -> None:
        self._store = store
        self._expiry = expiry
        self._meter = meter
        self._look_seconds = LOOK_SECONDS if look_seconds is None else look_seconds
        self._holder = secrets.token_hex(16)
        self._kept_until = 0.0  # on the monotonic clock
        #: How many results the next transaction removes, and when the last one began.
        self._size = BlockSize(removal.RESULTS_AT_ONCE)
        self._begun = 0.0

    async def run(self) -> None:
        """Remove, for ever. A database that does not answer is waited for."""
        # Results are stored and campaigns end whatever is removed.
        await repeat(
            self.sweep,
            rest=partial(asyncio.sleep, self._look_seconds),
            postponed="removal_postponed",
            failed="removal_failed",
        )

    async def sweep(self) -> bool:
        """Do one transaction of what is to be done; False: there is nothing, or others do it.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        if not await self._store.read(self._is_work):
            return False
        if time.monotonic() >= self._kept_until and not await self._take():
            return False
        begun = time.monotonic()
        worked = await self._store.write(self._work)
        took = time.monotonic() - begun
        if worked is None:
            self._kept_until = 0.0  # somebody else has the duty by now
            return False
        if isinstance(worked, tuple):
            self._note(*worked)
            if worked[1].rows == self._size.rows:  # not where there were fewer
                self._size.took(self._size.rows, time.monotonic() - self._begun)
        await asyncio.sleep(took)
        return True

    def _is_work(self, connection: sa.Connection) -> bool:
        return removal.first(connection) is not None or removal.is_due(connection, self._expiry)

    async def _take(self) -> bool:
        now = time.monotonic()
        taken = await self._store.write(partial(duty.take, duty=_DUTY, holder=self._holder))
        # Kept for half as long as the database has it, then asked for again.
        self._kept_until = now + duty.LEASE.total_seconds() / 2 if taken else 0.0
        return taken is not None

    def _work(self, connection: sa.Connection) -> tuple[Removal, Step, dict[str, Any]] | int | None:
        """Do one step, or note what is too old; None: another instance has the duty."""
        self._begun = time.monotonic()  # here, as it may have waited for its turn
        if not duty.holds(connection, _DUTY, self._holder):
            return None
        found = removal.first(connection)
        if found is None:
            return removal.expire(connection, self._expiry)
        names = _names(connection, found)
        step = removal.step(connection, found, results_at_once=self._size.rows)
        return found, step, names

    def _note(self, found: Removal, step: Step, names: dict[str, Any]) -> None:
        self._meter.removed(found.what, step.rows)
        if step.done:
            log.info(_DONE[found.what], **names, rows=step.removed)


def _names(connection: sa.Connection, found: Removal) -> dict[str, Any]:
    """Return what callers know a campaign by, deleted or not, for the log."""
    table = deleted_campaigns if found.what == "campaign" else campaigns
    row = connection.execute(
        sa.select(table.c.organisation, table.c.campaign_id).where(
            table.c.campaign == found.campaign
        )
    ).first()
    return {} if row is None else {"campaign_id": row.campaign_id, "organisation": row.organisation}
