"""Scans for problems: RepairCampaigns with ``dry_run``, kept for a moment and shared."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from status_service.dashboard.problem_groups import Scan, group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from service_runtime.caller import Caller
    from status_service.campaigns.service import CampaignService

#: How long a scan is shown without another one, seconds.
KEPT_SECONDS = 5.0
#: Of so many organisations a scan is kept at most; the one used longest ago goes first.
_MOST_ORGANISATIONS = 64


@dataclass
class _Kept:
    task: asyncio.Task[Scan]
    end: float | None = field(default=None)

    def ended(self, clock: Callable[[], float]) -> None:
        self.end = clock()


class ProblemScans:
    """What was found lately, by organisation.

    However many people look and reload, one scan of an organisation runs at a time, and
    one in :data:`KEPT_SECONDS`.

    Args:
        service: scans.
        moment: reads the database's time.
        clock: the time in seconds; only differences count.
    """

    def __init__(
        self,
        service: CampaignService,
        moment: Callable[[], Awaitable[datetime]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._moment = moment
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def scan(self, caller: Caller, *, again: bool = False) -> Scan:
        """Return what a scan of the caller's organisation found.

        Args:
            caller: who looks.
            again: don't take one that has ended; one that runs is taken in any case.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        kept = self._kept.get(caller.organisation)
        if kept is None or not self._serves(kept, again=again):
            kept = self._begin(caller)
        self._kept.move_to_end(caller.organisation)
        # Whoever goes away does not end it for the others.
        return await asyncio.shield(kept.task)

    def forget(self, organisation: str) -> None:
        """Take no scan of an organisation that was begun until now."""
        self._kept.pop(organisation, None)

    def _serves(self, kept: _Kept, *, again: bool) -> bool:
        if not kept.task.done():
            return True
        failed = kept.task.cancelled() or kept.task.exception() is not None
        if failed or again or kept.end is None:
            return False
        return self._clock() - kept.end < KEPT_SECONDS

    def _begin(self, caller: Caller) -> _Kept:
        kept = _Kept(asyncio.create_task(self._look(caller), name="scan for problems"))
        kept.task.add_done_callback(lambda _task: kept.ended(self._clock))
        self._kept[caller.organisation] = kept
        while len(self._kept) > _MOST_ORGANISATIONS:
            self._kept.popitem(last=False)
        return kept

    async def _look(self, caller: Caller) -> Scan:
        findings = await self._service.repair(caller, dry_run=True)
        return await asyncio.to_thread(group, findings, await self._moment())
