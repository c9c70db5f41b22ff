"""Results that are not SENT, by outcome and code, as the writer keeps them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from status_service.domain import Outcome
from status_service.reads.values import FailureGroup
from status_service.recording import deleted, lookup
from status_service.schema import failure_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The order of outcomes: what is worst first.
_ORDER = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.SKIPPED)


def groups(
    connection: sa.Connection, organisation: str, campaign_id: str, *, outcomes: Sequence[int]
) -> Sequence[FailureGroup]:
    """Return the results of a campaign by outcome and code; only ``outcomes`` if any are given.

    Raises:
        CampaignNotFoundError: there is none.
        ResultsRemovedError: its results are not kept any more.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    deleted.check_results_kept(campaign)
    return groups_of(connection, campaign.campaign, outcomes=outcomes)


def groups_of(
    connection: sa.Connection, campaign: int, *, outcomes: Sequence[int] = ()
) -> Sequence[FailureGroup]:
    """Return the groups of a campaign by its number: FAILED, UNKNOWN, SKIPPED; largest first.

    The rest of an outcome is its last group.
    """
    columns = failure_groups.c
    rows = connection.execute(
        sa.select(failure_groups).where(columns.campaign == campaign, columns.number > 0)
    ).all()
    found = [
        FailureGroup(
            outcome=Outcome(row.outcome),
            code=row.code,
            is_rest=bool(row.is_rest),
            number=row.number,
            detail=row.detail,
            examples=json.loads(row.examples),
        )
        for row in rows
        if not outcomes or row.outcome in outcomes
    ]
    return sorted(
        found,
        key=lambda group: (_ORDER.index(group.outcome), group.is_rest, -group.number, group.code),
    )
