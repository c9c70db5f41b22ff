"""What a screen shows, read on one snapshot so that its figures agree.

None of it reads all results of a campaign, so it costs the same whatever its size.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.campaigns import repair
from status_service.domain import Outcome
from status_service.reads import failures, queries, sampled
from status_service.reads.overview import needy_campaigns
from status_service.reads.pace import pace, series
from status_service.reads.values import CampaignPage, Overview
from status_service.recording import gaps, lookup
from status_service.schema import results, transitions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from service_runtime.pages import PageRequest
    from status_service.domain import State
    from status_service.reads.values import FailureGroup

#: Campaigns that need a person, missing ranges, results in doubt, and transitions shown.
_NEEDY, _RANGES, _IN_DOUBT, _TRANSITIONS = 10, 20, 5, 20


def overview(
    connection: sa.Connection,
    organisation: str,
    page: PageRequest,
    *,
    states: Sequence[State],
    labels: Mapping[str, str],
    id_prefix: str,
    stall_threshold: timedelta,
) -> Overview:
    """Return a page of campaigns, newest first, and those that need a person.

    Args:
        connection: on a snapshot.
        organisation: whose.
        page: which page.
        states: the page has only these; empty: all.
        labels: the page has only those with all of these.
        id_prefix: the page has only those whose id begins so.
        stall_threshold: how long without a new result is too long.
    """
    now = read_clock(connection)
    listed = queries.list_campaigns(
        connection,
        organisation,
        page,
        states=states,
        labels=labels,
        stuck_first=False,
        id_prefix=id_prefix,
    )
    needy = needy_campaigns(
        connection, organisation, stall_threshold=stall_threshold, now=now, limit=_NEEDY
    )
    return Overview(
        page=listed,
        paces=sampled.paces(
            connection, [*listed.rows, *needy.rows], now=now, stall_threshold=stall_threshold
        ),
        needy=repair.judge(connection, needy.rows, stall_threshold, now),
        needy_campaigns=needy.number,
        other_open_campaigns=needy.other_open,
        now=now,
    )


def campaign_page(
    connection: sa.Connection, organisation: str, campaign_id: str, *, stall_threshold: timedelta
) -> CampaignPage:
    """Return what the page of a campaign shows.

    Raises:
        CampaignNotFoundError: there is none.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    number = campaign.campaign
    now = read_clock(connection)
    course = sampled.course_of(campaign, now, stall_threshold)
    noted = sampled.samples_of(connection, number)
    pending = (campaign.total or 0) - course.counters.processed
    # Results that are not kept any more are not missing, and those left are on their way.
    is_kept = campaign.results_remove_time is None
    may_lack = pending and is_kept
    missing = (
        gaps.find(connection, number, campaign.total, limit=_RANGES).ranges if may_lack else []
    )
    groups = failures.groups_of(connection, number) if is_kept else []
    trail = connection.execute(
        sa.select(transitions)
        .where(transitions.c.campaign == number)
        .order_by(transitions.c.transition.desc())
        .limit(_TRANSITIONS + 1)
    ).all()
    return CampaignPage(
        finding=repair.judge(connection, [campaign], stall_threshold, now)[0],
        pace=pace(noted, course),
        samples=series(noted, course),
        failures=groups,
        missing_ranges=missing,
        more_missing_ranges=bool(may_lack)
        and sum(last - first + 1 for first, last in missing) < pending,
        in_doubt=_in_doubt(connection, number, groups),
        transitions=trail[:_TRANSITIONS],
        more_transitions=len(trail) > _TRANSITIONS,
    )


def _in_doubt(
    connection: sa.Connection, campaign: int, groups: Sequence[FailureGroup]
) -> Sequence[sa.Row[Any]]:
    """Return the results in doubt that groups name as examples, in order of sequence."""
    named = sorted(
        chain.from_iterable(group.examples for group in groups if group.outcome is Outcome.UNKNOWN)
    )[:_IN_DOUBT]
    if not named:
        return []
    return connection.execute(
        sa.select(results)
        .where(results.c.campaign == campaign, results.c.sequence.in_(named))
        .order_by(results.c.sequence)
    ).all()
