"""Campaigns: registration, and the changes of state people ask for.

Every function works inside a write transaction its caller holds, locks the
campaign's row first, and returns it as it is afterwards. What completes a campaign
is the ledger's alone.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database import read_clock
from status_service.domain import Cause, State, sources
from status_service.errors import (
    CampaignAlreadyExistsError,
    CampaignSealedError,
    TransitionNotAllowedError,
)
from status_service.recording import result_rows
from status_service.recording.completion import settle
from status_service.recording.ledger import lock_one
from status_service.recording.transitions import write_transition
from status_service.recording.types import CampaignKey, counters_of
from status_service.schema import campaigns

if TYPE_CHECKING:
    from datetime import datetime

    from service_runtime.caller import Caller


class Changed(NamedTuple):
    """A campaign's row after a call, and whether the call changed it."""

    campaign: sa.Row[Any]
    transitioned: bool


def create(
    connection: sa.Connection,
    caller: Caller,
    *,
    campaign_id: str,
    request_id: str,
    display_name: str,
    channel: str,
) -> Changed:
    """Register a DRAFT, or return the campaign that this call registered before.

    Raises:
        CampaignAlreadyExistsError: the id is taken by other content.
    """
    columns = campaigns.c
    now = read_clock(connection)
    # Of two at once, one inserts; the other waits for it and then finds its row.
    created = connection.execute(
        insert(campaigns)
        .values(
            organisation=caller.organisation,
            campaign_id=campaign_id or str(uuid.uuid4()),
            # It tells calls without an id of the caller's apart, and those alone.
            request_id=None if campaign_id else request_id or None,
            display_name=display_name,
            channel=channel,
            create_time=now,
        )
        .on_conflict_do_nothing()
        .returning(campaigns)
    ).one_or_none()
    if created is None:
        same = (
            columns.campaign_id == campaign_id if campaign_id else columns.request_id == request_id
        )
        existing = connection.execute(
            sa.select(campaigns).where(columns.organisation == caller.organisation, same)
        ).one()
        if (existing.display_name, existing.channel) != (display_name, channel):
            raise CampaignAlreadyExistsError(existing.campaign_id)
        return Changed(existing, transitioned=False)
    write_transition(
        connection,
        None,
        created,
        now=now,
        cause=Cause.USER,
        actor=caller.actor,
        reason="",
    )
    return Changed(created, transitioned=True)


def start(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    *,
    total: int,
    start_time: datetime | None,
) -> Changed:
    """Seal the total and begin to send, now or at ``start_time``.

    A campaign without messages is complete at once. Repeating the call changes
    nothing; with another ``start_time`` it moves a campaign that is SCHEDULED.

    Raises:
        CampaignNotFoundError: there is none.
        CampaignSealedError: it was sealed with another total.
        TransitionNotAllowedError: it is CANCELLED.
    """
    campaign = lock_one(connection, CampaignKey(caller.organisation, campaign_id))
    state = State(campaign.state)
    if state is State.CANCELLED:
        raise TransitionNotAllowedError(campaign_id, state=state, target=State.SENDING)
    if campaign.total not in {None, total}:
        raise CampaignSealedError(campaign_id, sealed=campaign.total, given=total)
    now = read_clock(connection)
    later = start_time is not None and start_time > now
    if state is State.DRAFT and later:
        scheduled = _enter(
            connection,
            campaign,
            State.SCHEDULED,
            caller,
            cause=Cause.SEAL,
            values={"total": total, "schedule_time": start_time},
        )
        return Changed(scheduled, transitioned=True)
    if state is State.DRAFT or (state is State.SCHEDULED and not later):
        cause = Cause.SEAL if state is State.DRAFT else Cause.USER
        sending = _begin(connection, campaign, caller.actor, cause=cause, total=total)
        return Changed(sending, transitioned=True)
    if state is State.SCHEDULED and start_time != campaign.schedule_time:
        campaign = connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.campaign == campaign.campaign)
            .values(schedule_time=start_time, revision=campaigns.c.revision + 1)
            .returning(campaigns)
        ).one()
    return Changed(campaign, transitioned=False)


def start_due(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Start the scheduled campaigns whose time has come; return them."""
    now = read_clock(connection)
    due = connection.execute(
        sa.select(campaigns)
        .where(campaigns.c.state == State.SCHEDULED.value, campaigns.c.schedule_time <= now)
        .order_by(campaigns.c.campaign)
        .with_for_update()
    ).all()
    return [
        _begin(connection, campaign, "schedule", cause=Cause.SCHEDULE, total=campaign.total)
        for campaign in due
    ]


def _begin(
    connection: sa.Connection, campaign: sa.Row[Any], actor: str, *, cause: Cause, total: int
) -> sa.Row[Any]:
    now = read_clock(connection)
    sending = _guarded_update(
        connection, campaign, State.SENDING, {"total": total, "start_time": now}
    )
    write_transition(
        connection, campaign.state, sending, now=now, cause=cause, actor=actor, reason=""
    )
    counters = counters_of(sending)
    if counters.processed < total:
        return sending
    # No messages, or all were reported before it was due: no later result completes it.
    counted = result_rows.count(connection, sending.campaign, total)
    return settle(connection, sending, counted.minus(counters), now=now, cause=cause, actor=actor)


def change_state(
    connection: sa.Connection, caller: Caller, campaign_id: str, target: State, *, reason: str
) -> Changed:
    """Pause, resume or cancel a campaign: bring it to ``target``.

    Raises:
        CampaignNotFoundError: there is none.
        TransitionNotAllowedError: its state does not allow it.
    """
    campaign = lock_one(connection, CampaignKey(caller.organisation, campaign_id))
    state = State(campaign.state)
    if state is target:
        return Changed(campaign, transitioned=False)
    # A draft is started by StartCampaign, which seals it; resuming is for PAUSED.
    if state not in sources(target) or (target is State.SENDING and state is not State.PAUSED):
        raise TransitionNotAllowedError(campaign_id, state=state, target=target)
    changed = _enter(connection, campaign, target, caller, cause=Cause.USER, reason=reason)
    return Changed(changed, transitioned=True)


def _enter(
    connection: sa.Connection,
    campaign: sa.Row[Any],
    target: State,
    caller: Caller,
    *,
    cause: Cause,
    reason: str = "",
    values: dict[str, Any] | None = None,
) -> sa.Row[Any]:
    after = _guarded_update(connection, campaign, target, values or {})
    write_transition(
        connection,
        campaign.state,
        after,
        now=read_clock(connection),
        cause=cause,
        actor=caller.actor,
        reason=reason,
    )
    return after


def _guarded_update(
    connection: sa.Connection, campaign: sa.Row[Any], target: State, values: dict[str, Any]
) -> sa.Row[Any]:
    """Bring a locked campaign to ``target``; the statement names the states it may come from."""
    return connection.execute(
        sa.update(campaigns)
        .where(
            campaigns.c.campaign == campaign.campaign,
            campaigns.c.state == campaign.state,
            campaigns.c.state.in_(sources(target)),
        )
        .values(state=target.value, revision=campaigns.c.revision + 1, **values)
        .returning(campaigns)
    ).one()
