"""Diagnosis and repair of open campaigns.

RepairCampaigns, ExplainCampaign, the reconcile pass and the audit share it. A campaign is read
on a snapshot first, which holds up nobody. Only where the snapshot shows a defect is
the campaign locked, counted again, and repaired through the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.campaigns import explanation
from status_service.campaigns.standing import Entry, Standing
from status_service.domain import OPEN, Cause, Counters, Diagnosis, State, diagnose
from status_service.recording import counting, lookup, problems, result_rows
from status_service.recording.completion import settle
from status_service.recording.ledger import lock_one
from status_service.recording.outbox import write_event
from status_service.recording.types import CampaignKey, counters_of, key_of
from status_service.schema import campaigns, transitions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service_runtime.caller import Caller
    from status_service.recording.counting import Count

#: The event of a repair.
REPAIRED: Final = "campaign.repaired"

_LOCKED = "Another client of the database holds the campaign locked. Try fix again later."


@dataclass(frozen=True)
class Finding:
    """What was found about one campaign, and what was done.

    Attributes:
        campaign: its row, after the repair if there was one.
        diagnosis: what was found; None if it is not open.
        after: what holds now; differs from ``diagnosis`` after a repair, and is
            None once the campaign is completed.
        repaired: true if something was (or, in a dry run, would be) repaired.
        now: the database's time when it was looked at.
        entry: how it came into the state it has; None: the audit trail does not say.
        is_locked: true if somebody else holds it locked, so that it was not repaired.
        count: its results, if they were counted and show a defect.
    """

    campaign: sa.Row[Any]
    diagnosis: Diagnosis | None
    after: Diagnosis | None
    repaired: bool
    now: datetime
    entry: Entry | None = None
    is_locked: bool = False
    count: Count | None = None

    @property
    def is_open(self) -> bool:
        """True if it was open when it was looked at."""
        return self.diagnosis is not None

    @cached_property
    def needs_attention(self) -> bool:
        """True if only a person, or a sender, brings it further."""
        return self.standing.needs_attention

    @property
    def standing(self) -> Standing:
        """What is known of it now; not kept, since its problems may be long."""
        row = self.campaign
        return Standing(
            state=State(row.state),
            total=row.total,
            counters=counters_of(row),
            diagnosis=self.after,
            problems=problems.from_json(row.problems),
            now=self.now,
            start_time=row.start_time,
            progress_time=row.progress_time,
            schedule_time=row.schedule_time,
            last_reporter=row.last_reporter,
            entry=self.entry,
        )

    @cached_property
    def _explained(self) -> explanation.Explanation:
        return explanation.explain(self.standing)

    @property
    def explanation(self) -> str:
        """How it stands, for people."""
        return self._explained.explanation

    @property
    def action(self) -> str:
        """What was done or is to be done, for people."""
        if self.is_locked:
            return _LOCKED
        if self.repaired and self.diagnosis is not None and self.after is not self.diagnosis:
            return explanation.after_repair(self.standing, self.diagnosis)
        return self._explained.action


def open_campaigns(connection: sa.Connection, organisation: str | None) -> list[CampaignKey]:
    """Return the campaigns in SENDING and PAUSED, oldest first; of all organisations if None."""
    query = sa.select(campaigns.c.organisation, campaigns.c.campaign_id).where(
        campaigns.c.state.in_([state.value for state in OPEN])
    )
    if organisation is not None:
        query = query.where(campaigns.c.organisation == organisation)
    rows = connection.execute(query.order_by(campaigns.c.campaign))
    return [CampaignKey(*row) for row in rows]


def look(
    connection: sa.Connection, keys: Sequence[CampaignKey], stall_threshold: timedelta
) -> list[Finding]:
    """Diagnose campaigns by their keys, as :func:`examine` does, and read their problems.

    A few statements for all of them: one at a time, ten thousand would take a minute.

    Returns:
        A finding for each that exists, in the order of ``keys``.
    """
    now = read_clock(connection)
    rows = {key_of(row): row for row in lookup.get_many(connection, keys)}
    opened = [row.campaign for row in rows.values() if State(row.state) in OPEN]
    counted = result_rows.count_many(connection, opened)
    entries = _entries(connection, [row.campaign for row in rows.values()])
    findings = []
    for key in keys:
        if key not in rows:
            continue  # taken out by hand since it was listed
        row = rows[key]
        found = _finding(
            row,
            counted.get(row.campaign, Counters()),
            stall_threshold,
            now=now,
            entry=entries.get(row.campaign),
        )
        if found.repaired:
            counts = counting.of(connection, row, counted.get(row.campaign, Counters()))
            found = replace(found, count=counts)
        # Here, beside the event loop: who looks at thousands of campaigns asks all of them.
        _ = found.needs_attention
        findings.append(found)
    return findings


def examine(
    connection: sa.Connection, campaign: sa.Row[Any], stall_threshold: timedelta
) -> Finding:
    """Diagnose a campaign and change nothing. ``repaired`` says what a repair would do."""
    now = read_clock(connection)
    entry = _entries(connection, [campaign.campaign]).get(campaign.campaign)
    counted = (
        result_rows.count(connection, campaign.campaign, campaign.total)
        if State(campaign.state) in OPEN
        else Counters()
    )
    return _finding(campaign, counted, stall_threshold, now=now, entry=entry)


def judge(
    connection: sa.Connection,
    campaigns: Sequence[sa.Row[Any]],
    stall_threshold: timedelta,
    now: datetime,
) -> list[Finding]:
    """Diagnose campaigns from their rows alone: it costs the same whatever their size.

    Their counters are believed, so this never finds COUNTER_DRIFT.
    """
    entries = _entries(connection, [row.campaign for row in campaigns])
    return [
        _finding(row, counters_of(row), stall_threshold, now=now, entry=entries.get(row.campaign))
        for row in campaigns
    ]


def judge_keys(
    connection: sa.Connection, keys: Sequence[CampaignKey], stall_threshold: timedelta
) -> list[Finding]:
    """Do what :func:`judge` does for those of ``keys`` that exist."""
    rows = lookup.get_many(connection, keys)
    return judge(connection, rows, stall_threshold, read_clock(connection))


def judge_row(campaign: sa.Row[Any], stall_threshold: timedelta, now: datetime) -> Finding:
    """Do what :func:`judge` does without asking how the campaign came into its state."""
    return _finding(campaign, counters_of(campaign), stall_threshold, now=now, entry=None)


def _finding(
    campaign: sa.Row[Any],
    counted: Counters,
    stall_threshold: timedelta,
    *,
    now: datetime,
    entry: Entry | None,
) -> Finding:
    if State(campaign.state) not in OPEN:
        return Finding(campaign, None, None, repaired=False, now=now, entry=entry)
    diagnosis = _diagnose(campaign, counters_of(campaign), counted, now, stall_threshold)
    return Finding(
        campaign, diagnosis, diagnosis, repaired=diagnosis.is_defect, now=now, entry=entry
    )


def _entries(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, Entry]:
    """Return how campaigns came into their states, as the audit trail has it, by number."""
    if not numbers:
        return {}
    columns = transitions.c
    last = (
        sa.select(sa.func.max(columns.transition))
        .join(campaigns, campaigns.c.campaign == columns.campaign)
        .where(columns.campaign.in_(numbers), columns.to_state == campaigns.c.state)
        .group_by(columns.campaign)
    )
    rows = connection.execute(
        sa.select(
            columns.campaign,
            columns.actor,
            columns.on_behalf_of,
            columns.reason,
            columns.create_time,
            columns.forced,
        ).where(columns.transition.in_(last))
    )
    return {number: Entry(*entry) for number, *entry in rows}


def repair(
    connection: sa.Connection,
    key: CampaignKey,
    stall_threshold: timedelta,
    *,
    actor: Caller,
    count: Count | None = None,
) -> Finding:
    """Lock a campaign, diagnose it, and repair what its results prove.

    A campaign with pending messages is never ended.

    Args:
        connection: in a write transaction.
        key: the campaign.
        stall_threshold: how long without a new result is too long.
        actor: who repairs.
        count: its results, as they were counted on a snapshot.

    Raises:
        CampaignNotFoundError: there is none.
        UncountedError: ``count`` does not hold any more; count again.
    """
    campaign = lock_one(connection, key)
    if State(campaign.state) not in OPEN:
        return examine(connection, campaign, stall_threshold)
    known = counting.of_locked(connection, campaign, campaign.total, count)
    counters = counters_of(campaign)
    now = read_clock(connection)
    found = _finding(campaign, counters.plus(known.drift), stall_threshold, now=now, entry=None)
    if not found.repaired:
        entry = _entries(connection, [campaign.campaign]).get(campaign.campaign)
        return replace(found, entry=entry)
    counting.correct_groups(connection, campaign.campaign, known)
    counted = counters.plus(known.drift)
    after = settle(
        connection,
        campaign,
        known.drift,
        now=now,
        cause=Cause.RECONCILE,
        actor=actor.actor,
        reason=f"repair: {found.diagnosis}",
        on_behalf_of=actor.on_behalf_of,
    )
    remaining = (
        None
        if State(after.state).is_terminal
        else _diagnose(after, counted, counted, found.now, stall_threshold)
    )
    write_event(
        connection,
        after,
        REPAIRED,
        now=found.now,
        details={"diagnosis": found.diagnosis.value if found.diagnosis else ""},
    )
    entry = _entries(connection, [after.campaign]).get(after.campaign)
    return Finding(after, found.diagnosis, remaining, repaired=True, now=found.now, entry=entry)


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
