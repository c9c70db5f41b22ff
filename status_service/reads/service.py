"""What can be seen of campaigns: the layer under gRPC, one method for each call that reads.

Each runs one function of :mod:`.queries`, :mod:`.lookup` or :mod:`.repair` on one snapshot.
What looks at many results uses the lane of long reads, so that nothing else waits for it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from service_runtime.database_time import read_clock
from status_service.campaigns import repair
from status_service.domain import Diagnosis
from status_service.reads import failures, followed, queries, sampled, screens
from status_service.recording import counting, gaps, lookup
from status_service.recording.types import counters_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Any

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.pages import Page, PageRequest
    from status_service.campaigns.repair import Finding
    from status_service.campaigns.scans import ScanCounts, Scans
    from status_service.domain import State
    from status_service.reads.followed import Followed
    from status_service.reads.pace import Pace, Sample
    from status_service.reads.sampled import RecentSamples
    from status_service.reads.values import CampaignPage, FailureGroup, Overview

#: Missing ranges an explanation names at most.
_RANGES_EXPLAINED = 20


class CampaignViews:
    """The campaigns of all organisations, as they are; each caller sees those of one.

    Args:
        store: the database.
        scans: what the reconcile pass found last.
        stall_threshold: how long without a new result is too long.
    """

    def __init__(self, store: Store, scans: Scans, *, stall_threshold: timedelta) -> None:
        self._store = store
        self._scans = scans
        self._stall_threshold = stall_threshold

    async def get(self, caller: Caller, campaign_id: str) -> sa.Row[Any]:
        """Return a campaign: :func:`.lookup.get`."""
        return await self._store.read(
            partial(lookup.get, organisation=caller.organisation, campaign_id=campaign_id)
        )

    async def get_with_pace(self, caller: Caller, campaign_id: str) -> tuple[sa.Row[Any], Pace]:
        """Return a campaign, :func:`.lookup.get`, and its pace."""

        def found(connection: sa.Connection) -> tuple[sa.Row[Any], Pace]:
            row = lookup.get(connection, caller.organisation, campaign_id)
            return row, self._paces(connection, [row], read_clock(connection))[row.campaign]

        return await self._store.read(found)

    async def list_campaigns(
        self,
        caller: Caller,
        page: PageRequest,
        *,
        states: Sequence[State],
        labels: Mapping[str, str],
        stuck_first: bool,
    ) -> tuple[Page, Mapping[int, Pace], datetime]:
        """Return a page of campaigns, their paces by number, and when it was read.

        The page is that of :func:`.queries.list_campaigns`.
        """

        def listed(connection: sa.Connection) -> tuple[Page, Mapping[int, Pace], datetime]:
            found = queries.list_campaigns(
                connection,
                organisation=caller.organisation,
                page=page,
                states=states,
                labels=labels,
                stuck_first=stuck_first,
            )
            now = read_clock(connection)
            return found, self._paces(connection, found.rows, now), now

        return await self._store.read(listed)

    def _paces(
        self, connection: sa.Connection, rows: Sequence[sa.Row[Any]], now: datetime
    ) -> Mapping[int, Pace]:
        return sampled.paces(connection, rows, now=now, stall_threshold=self._stall_threshold)

    async def list_results(
        self,
        caller: Caller,
        campaign_id: str,
        page: PageRequest,
        *,
        outcomes: Sequence[int],
        codes: Sequence[str] = (),
    ) -> Page:
        """Return a page of results: :func:`.queries.list_results`."""
        return await self._store.read(
            partial(
                queries.list_results,
                organisation=caller.organisation,
                campaign_id=campaign_id,
                page=page,
                outcomes=outcomes,
                codes=codes,
            )
        )

    async def list_missing_ranges(
        self, caller: Caller, campaign_id: str, page: PageRequest
    ) -> Page:
        """Return a page of missing ranges: :func:`.queries.list_missing_ranges`."""
        return await self._store.read_long(
            partial(
                queries.list_missing_ranges,
                organisation=caller.organisation,
                campaign_id=campaign_id,
                page=page,
            )
        )

    async def list_transitions(self, caller: Caller, campaign_id: str, page: PageRequest) -> Page:
        """Return a page of the audit trail: :func:`.queries.list_transitions`."""
        return await self._store.read(
            partial(
                queries.list_transitions,
                organisation=caller.organisation,
                campaign_id=campaign_id,
                page=page,
            )
        )

    async def list_samples(self, caller: Caller, campaign_id: str) -> Sequence[Sample]:
        """Return the counters of a campaign over time: :func:`.sampled.series_of`."""
        return await self._store.read(
            partial(
                sampled.series_of,
                organisation=caller.organisation,
                campaign_id=campaign_id,
                stall_threshold=self._stall_threshold,
            )
        )

    async def list_failures(
        self, caller: Caller, campaign_id: str, *, outcomes: Sequence[int] = ()
    ) -> Sequence[FailureGroup]:
        """Return the results of a campaign by outcome and code: :func:`.failures.groups`."""
        return await self._store.read(
            partial(
                failures.groups,
                organisation=caller.organisation,
                campaign_id=campaign_id,
                outcomes=outcomes,
            )
        )

    async def overview(
        self,
        caller: Caller,
        page: PageRequest,
        *,
        states: Sequence[State],
        labels: Mapping[str, str],
        id_prefix: str = "",
    ) -> Overview:
        """Return a page of campaigns, and those that need a person: :func:`.screens.overview`."""
        return await self._store.read(
            partial(
                screens.overview,
                organisation=caller.organisation,
                page=page,
                states=states,
                labels=labels,
                id_prefix=id_prefix,
                stall_threshold=self._stall_threshold,
            )
        )

    async def campaign_page(self, caller: Caller, campaign_id: str) -> CampaignPage:
        """Return what the page of a campaign shows: :func:`.screens.campaign_page`."""
        return await self._store.read(
            partial(
                screens.campaign_page,
                organisation=caller.organisation,
                campaign_id=campaign_id,
                stall_threshold=self._stall_threshold,
            )
        )

    async def followed(
        self,
        organisation: str,
        ids: Collection[str],
        detailed: Collection[str],
        *,
        counting: bool = True,
        recent: RecentSamples | None = None,
    ) -> Followed:
        """Return what changes on open pages of an organisation: :func:`.followed.followed`."""
        return await self._store.read(
            partial(
                followed.followed,
                organisation=organisation,
                ids=ids,
                detailed=detailed,
                counting=counting,
                stall_threshold=self._stall_threshold,
                recent=recent,
            )
        )

    def latest_scan(self, organisation: str) -> ScanCounts | None:
        """Return what the last reconcile pass found: :meth:`.scans.Scans.latest`."""
        return self._scans.latest(organisation)

    async def explain(
        self, caller: Caller, campaign_id: str
    ) -> tuple[Finding, list[tuple[int, int]], bool]:
        """Return the diagnosis of a campaign, its first missing ranges, and if there are more.

        It takes about the same time whatever the size of the campaign: the counters of a
        large one are believed, and ranges are found among its first results.

        Raises:
            CampaignNotFoundError: there is none.
        """

        def explained(
            connection: sa.Connection,
        ) -> tuple[Finding, list[tuple[int, int]], bool]:
            campaign = lookup.get(connection, caller.organisation, campaign_id)
            total = campaign.total or 0
            if total <= counting.MOST_TO_ANSWER:
                found = repair.examine(connection, campaign, self._stall_threshold)
            else:
                now = read_clock(connection)
                [found] = repair.judge(connection, [campaign], self._stall_threshold, now)
            if campaign.results_remove_time is not None:
                return found, [], False  # what is not kept any more is not missing
            pending = total - counters_of(campaign).processed
            # Of a drifted one, the counters don't say whether anything is missing.
            drifted = found.diagnosis is Diagnosis.COUNTER_DRIFT
            if not pending and not drifted:
                return found, [], False
            missing = gaps.find(
                connection,
                campaign.campaign,
                total,
                limit=_RANGES_EXPLAINED + 1,
                enough=None if drifted else pending,
            )
            shown = list(missing.ranges[:_RANGES_EXPLAINED])
            more = len(missing.ranges) > len(shown) or (
                missing.stopped_at is not None and gaps.messages_in(shown) < pending
            )
            return found, shown, more

        return await self._store.read_long(explained)
