"""Diagnosis and repair of open campaigns.

RepairCampaigns, ExplainCampaign and the reconcile pass share it. A campaign is read
on a snapshot first, which holds up nobody. Only where the snapshot shows a defect is
the campaign locked, counted again, and repaired through the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service_runtime.database import read_clock
from status_service.domain import OPEN, Cause, Counters, Diagnosis, State, diagnose
from status_service.recording import result_rows
from status_service.recording.completion import settle
from status_service.recording.ledger import lock_one
from status_service.recording.types import CampaignKey, counters_of
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one campaign, and what was done.

    Attributes:
        campaign: its row, after the repair if there was one.
        diagnosis: what was found; None if it is not open.
        after: what holds now; differs from ``diagnosis`` after a repair, and is
            None once the campaign is completed.
        repaired: true if something was (or, in a dry run, would be) repaired.
        now: the database's time when it was looked at.
        is_locked: true if somebody else holds it locked, so that it was not repaired.
    """

    campaign: sa.Row[Any]
    diagnosis: Diagnosis | None
    after: Diagnosis | None
    repaired: bool
    now: datetime
    is_locked: bool = False

    @property
    def is_open(self) -> bool:
        """True if it was open when it was looked at."""
        return self.diagnosis is not None

    @property
    def needs_attention(self) -> bool:
        """True if only a person, or a sender, brings it further."""
        return self.after is not None and self.after.needs_attention

    @property
    def action(self) -> str:
        """What was done or is to be done, for people."""
        if self.is_locked:
            return "somebody else holds it locked in the database: repair it again later"
        if self.after is None:
            if self.repaired:
                return f"{self.diagnosis}: completed from its results"
            return f"nothing to do: it is {self.campaign.state}"
        pending = self.campaign.total - counters_of(self.campaign).processed
        who = self.campaign.last_reporter or "nobody yet"
        return _ACTIONS[self.after].format(pending=pending, who=who)


_ACTIONS = {
    Diagnosis.STALLED: (
        "{pending} messages have no result; the last reporter was {who}: see that this sender"
        " runs and reaches this service. If it is gone for good, MarkComplete with force"
        " records them as UNKNOWN"
    ),
    Diagnosis.NEVER_STARTED: (
        "no result ever came: see that a sender runs, reaches this service and has this"
        " campaign, or cancel it"
    ),
    Diagnosis.PAUSED: "resume it to send the remaining {pending}, or cancel it",
    Diagnosis.IN_PROGRESS: "nothing to do: {pending} messages to go, last reporter {who}",
    Diagnosis.FULLY_PROCESSED: "RepairCampaigns or MarkComplete completes it",
    Diagnosis.COUNTER_DRIFT: "RepairCampaigns counts its results again",
}


def open_campaigns(connection: sa.Connection, organisation: str | None) -> list[CampaignKey]:
    """Return the campaigns in SENDING and PAUSED, oldest first; of all organisations if None."""
    query = sa.select(campaigns.c.organisation, campaigns.c.campaign_id).where(
        campaigns.c.state.in_([state.value for state in OPEN])
    )
    if organisation is not None:
        query = query.where(campaigns.c.organisation == organisation)
    rows = connection.execute(query.order_by(campaigns.c.campaign))
    return [CampaignKey(*row) for row in rows]


def examine(
    connection: sa.Connection, campaign: sa.Row[Any], stall_threshold: timedelta
) -> Finding:
    """Diagnose a campaign and change nothing. ``repaired`` says what a repair would do."""
    now = read_clock(connection)
    if State(campaign.state) not in OPEN:
        return Finding(campaign, None, None, repaired=False, now=now)
    counted = result_rows.count(connection, campaign.campaign, campaign.total)
    diagnosis = _diagnose(campaign, counters_of(campaign), counted, now, stall_threshold)
    return Finding(campaign, diagnosis, diagnosis, repaired=diagnosis.is_defect, now=now)


def repair(
    connection: sa.Connection,
    key: CampaignKey,
    stall_threshold: timedelta,
    *,
    actor: str,
) -> Finding:
    """Lock a campaign, diagnose it, and repair what its results prove.

    A campaign with pending messages is never ended.

    Raises:
        CampaignNotFoundError: there is none.
    """
    campaign = lock_one(connection, key)
    found = examine(connection, campaign, stall_threshold)
    if not found.repaired:
        return found
    counted = result_rows.count(connection, campaign.campaign, campaign.total)
    after = settle(
        connection,
        campaign,
        counted.minus(counters_of(campaign)),
        now=found.now,
        cause=Cause.RECONCILE,
        actor=actor,
        reason=f"repair: {found.diagnosis}",
    )
    remaining = (
        None
        if State(after.state).is_terminal
        else _diagnose(after, counted, counted, found.now, stall_threshold)
    )
    return Finding(after, found.diagnosis, remaining, repaired=True, now=found.now)


def _diagnose(
    campaign: sa.Row[Any],
    counters: Counters,
    counted: Counters,
    now: datetime,
    stall_threshold: timedelta,
) -> Diagnosis:
    return diagnose(
        state=State(campaign.state),
        total=campaign.total,
        counters=counters,
        counted=counted,
        start_time=campaign.start_time or campaign.create_time,
        progress_time=campaign.progress_time,
        now=now,
        stall_threshold=stall_threshold,
    )


def explain(finding: Finding, missing: Sequence[tuple[int, int]]) -> str:
    """Say in a sentence or two why a campaign is where it is, for people."""
    campaign = finding.campaign
    if campaign.total is None:
        return f"It is {campaign.state}: no message count was sealed yet."
    counters = counters_of(campaign)
    numbers = (
        f"{counters.processed} of {campaign.total} messages have a result"
        f" (sent={counters.sent} failed={counters.failed}"
        f" skipped={counters.skipped} unknown={counters.unknown})"
    )
    if finding.after is None:
        return f"It is {campaign.state}: {numbers}."
    ranges = f"; the first without one is {missing[0][0]}" if missing else ""
    return f"It is {campaign.state} and {finding.after}: {numbers}{ranges}. Next: {finding.action}."
