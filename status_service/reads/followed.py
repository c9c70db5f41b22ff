"""What changes on pages that are open: read once for all pages of an organisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.campaigns import repair
from status_service.reads import sampled
from status_service.reads.overview import Needy, needy_campaigns
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime, timedelta

    from status_service.campaigns.repair import Finding
    from status_service.reads.pace import Pace
    from status_service.reads.sampled import RecentSamples


@dataclass(frozen=True, slots=True)
class Followed:
    """Campaigns as of one moment.

    Attributes:
        findings: how each stands, by its id, judged from its row alone.
        paces: how fast each goes, by its id.
        needy_campaigns: how many need a person, of all.
        other_open_campaigns: how many others are open.
        now: the database's time.
    """

    findings: Mapping[str, Finding]
    paces: Mapping[str, Pace]
    needy_campaigns: int
    other_open_campaigns: int
    now: datetime


def followed(
    connection: sa.Connection,
    organisation: str,
    ids: Collection[str],
    detailed: Collection[str],
    *,
    counting: bool,
    stall_threshold: timedelta,
    recent: RecentSamples | None = None,
) -> Followed:
    """Return how the campaigns ``ids`` are; one that is gone is left out.

    Of those in ``detailed`` it is known how they came into their state, which their
    sentence may say; a list shows no such sentence, and has many campaigns. Only a list
    counts what needs a person; without ``counting`` these numbers are 0. Who asks again and
    again gives the same ``recent`` each time.
    """
    now = read_clock(connection)
    rows = connection.execute(
        sa.select(campaigns).where(
            campaigns.c.organisation == organisation, campaigns.c.campaign_id.in_(ids)
        )
    ).all()
    paces = sampled.paces(connection, rows, now=now, stall_threshold=stall_threshold, recent=recent)
    needy = Needy([], 0, 0)
    if counting:
        needy = needy_campaigns(
            connection, organisation, stall_threshold=stall_threshold, now=now, limit=1
        )
    known = [row for row in rows if row.campaign_id in detailed]
    findings = [
        *repair.judge(connection, known, stall_threshold, now),
        *(
            repair.judge_row(row, stall_threshold, now)
            for row in rows
            if row.campaign_id not in detailed
        ),
    ]
    return Followed(
        findings={found.campaign.campaign_id: found for found in findings},
        paces={row.campaign_id: paces[row.campaign] for row in rows},
        needy_campaigns=needy.number,
        other_open_campaigns=needy.other_open,
        now=now,
    )
