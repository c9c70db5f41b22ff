"""MarkComplete: a person completes a campaign, by force also one with messages missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service_runtime.database import read_clock
from status_service.campaigns.types import Changed
from status_service.domain import OPEN, Cause, Outcome, State
from status_service.errors import CampaignNotFullyProcessedError, CampaignNotSendingError
from status_service.recording import gaps, lookup, result_rows
from status_service.recording.completion import settle
from status_service.recording.ledger import check_revision, lock_one
from status_service.recording.result_columns import ResultColumns
from status_service.recording.types import CampaignKey, counters_of

if TYPE_CHECKING:
    from datetime import datetime

    import sqlalchemy as sa

    from service_runtime.caller import Caller

#: Missing ranges named by a refusal.
_RANGES_NAMED = 10
#: Missing messages recorded as UNKNOWN in one go when completion is forced.
_FORCED_AT_ONCE = 10_000


def mark_complete(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    *,
    reason: str,
    force: bool,
    dry_run: bool,
    revision: int = 0,
) -> Changed:
    """Complete a campaign of which every message has a result.

    The results are counted again, so a wrong counter neither completes a campaign
    nor stands in its way.

    Args:
        connection: in a write transaction; a snapshot will do for ``dry_run``.
        caller: who asks.
        campaign_id: the campaign.
        reason: for the audit trail.
        force: record what is missing as UNKNOWN with code ``forced`` first.
        dry_run: answer or refuse as without it, and change nothing.
        revision: refuse unless it is the current one; 0: any.

    Raises:
        CampaignNotFoundError: there is none.
        RevisionMismatchError: it changed since the caller read it.
        CampaignNotSendingError: it is neither SENDING nor PAUSED nor COMPLETED.
        CampaignNotFullyProcessedError: messages have no result, and no force.
    """
    key = CampaignKey(caller.organisation, campaign_id)
    if dry_run:
        campaign = lookup.get(connection, *key)
        check_revision(campaign, revision)
    else:
        campaign = lock_one(connection, key, revision=revision)
    state = State(campaign.state)
    if state is State.COMPLETED:
        return Changed(campaign, transitioned=False, before=campaign)
    if state not in OPEN:
        raise CampaignNotSendingError(campaign_id, state=state)
    counted = result_rows.count(connection, campaign.campaign, campaign.total)
    if counted.processed < campaign.total and not force:
        missing = gaps.missing_ranges(
            connection, campaign.campaign, campaign.total, limit=_RANGES_NAMED
        )
        raise CampaignNotFullyProcessedError(
            campaign_id, total=campaign.total, counters=counted, missing=missing
        )
    if dry_run:
        return Changed(campaign, transitioned=True, before=campaign)
    now = read_clock(connection)
    forced = campaign.total - counted.processed
    if forced:
        _record_missing(connection, campaign, now)
        counted = result_rows.count(connection, campaign.campaign, campaign.total)
    completed = settle(
        connection,
        campaign,
        counted.minus(counters_of(campaign)),
        now=now,
        cause=Cause.MANUAL,
        actor=caller.actor,
        reason=reason,
        on_behalf_of=caller.on_behalf_of,
        forced=forced,
        recounted=forced > 0 or counted != counters_of(campaign),
    )
    return Changed(completed, transitioned=True, before=campaign, cause=Cause.MANUAL)


def _record_missing(connection: sa.Connection, campaign: sa.Row[Any], now: datetime) -> None:
    ranges = gaps.missing_ranges(
        connection, campaign.campaign, campaign.total, limit=campaign.total
    )
    for first, last in ranges:
        for start in range(first, last + 1, _FORCED_AT_ONCE):
            end = min(start + _FORCED_AT_ONCE, last + 1)
            result_rows.upsert(
                connection,
                [
                    (
                        campaign.campaign,
                        ResultColumns.of(
                            (sequence, Outcome.UNKNOWN, 0, "forced", "", "", None)
                            for sequence in range(start, end)
                        ),
                    )
                ],
                now,
                all_new=True,
            )
