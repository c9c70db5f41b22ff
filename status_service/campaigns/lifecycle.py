"""The changes of state that people and the clock ask for.

Every function works inside a write transaction its caller holds, locks the
campaign's row first, and returns it as it is afterwards. Only the ledger completes a
campaign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import sqlalchemy as sa

from service_runtime.caller import Caller
from service_runtime.database_time import database_now, read_clock
from service_runtime.errors import InvalidRequestError
from status_service.campaigns.types import Changed
from status_service.domain import Cause, Start, State, decide_start, sources
from status_service.errors import CampaignSealedError, TransitionNotAllowedError
from status_service.recording import counting
from status_service.recording.completion import settle
from status_service.recording.ledger import lock_one
from status_service.recording.problems import NO_PROBLEMS
from status_service.recording.transitions import write_transition
from status_service.recording.types import CampaignKey, counters_of
from status_service.schema import campaigns

if TYPE_CHECKING:
    from datetime import datetime

    from status_service.campaigns.types import StartOrder
    from status_service.recording.counting import Count

_TOO_LATE = "more than a minute past"
#: What starts a campaign now that has not started yet: a scheduled one keeps its time
#: where none is given.
_TO_START_NOW = {
    State.DRAFT: "; leave it out to start now",
    State.SCHEDULED: "; leave it out and set start_now to start now",
}


def start(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    order: StartOrder,
    *,
    largest_total: int,
    count: Count | None = None,
) -> Changed:
    """Seal the total and begin to send, now or later: :func:`.domain.decide_start`.

    A campaign without messages is complete at once.

    Args:
        connection: in a write transaction.
        caller: who asks.
        campaign_id: the campaign.
        order: how it is to be started.
        largest_total: more messages are refused, unless it is sealed with them already.
        count: its results, if it was ``UncountedError`` that asked for them.

    Raises:
        CampaignNotFoundError: there is none.
        RevisionMismatchError: it changed since the caller read it.
        InvalidRequestError: the time is past, and not the one it was started with, or it
            has too many messages.
        UncountedError: its results are to be counted first.
        CampaignSealedError: it was sealed with another total.
        TransitionNotAllowedError: it is CANCELLED, or started by another time.
    """
    campaign = lock_one(
        connection, CampaignKey(caller.organisation, campaign_id), revision=order.revision
    )
    state = State(campaign.state)
    decision = decide_start(
        state=state,
        same_total=campaign.total in {None, order.total},
        schedule_time=campaign.schedule_time,
        start_time=order.start_time,
        start_now=order.start_now,
        now=read_clock(connection),
    )
    cause = Cause.SEAL if state is State.DRAFT else Cause.USER
    seals = campaign.total is None and decision in {Start.NOW, Start.LATER}
    if seals and order.total > largest_total:
        _refuse_total(order.total, largest_total)
    match decision:
        case Start.NOTHING:
            return Changed(campaign, transitioned=False, before=campaign)
        case Start.NOW:
            # The time is kept, so that a repeat of the call is known by it.
            times = {"schedule_time": order.start_time} if order.start_time else {}
            after = _begin(
                connection, campaign, caller, cause=cause, total=order.total, count=count, **times
            )
            return Changed(after, transitioned=True, before=campaign, cause=cause)
        case Start.LATER:
            values = {"total": order.total, "schedule_time": order.start_time}
            after = _enter(
                connection, campaign, State.SCHEDULED, caller, cause=cause, values=values
            )
            return Changed(after, transitioned=True, before=campaign, cause=cause)
        case Start.MOVED:
            after = connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.campaign == campaign.campaign)
                .values(schedule_time=order.start_time, revision=campaigns.c.revision + 1)
                .returning(campaigns)
            ).one()
            return Changed(after, transitioned=False, before=campaign)
        case Start.TOO_LATE:
            advice = _TO_START_NOW.get(state, "")
            raise InvalidRequestError.of({"start_time": _TOO_LATE + advice})
        case Start.OTHER_TOTAL:
            raise CampaignSealedError(campaign_id, sealed=campaign.total, given=order.total)
        case Start.CANCELLED:
            raise TransitionNotAllowedError(campaign_id, state=state, target=State.SENDING)
        case Start.OTHER_TIME:
            raise TransitionNotAllowedError(campaign_id, state=state, target=State.SCHEDULED)


def _refuse_total(total: int, largest: int) -> NoReturn:
    reason = (
        f"{total} is more than {largest}, the most messages that this service takes in a"
        " campaign: divide its audience into several campaigns, or raise largest_total of the"
        " status service"
    )
    raise InvalidRequestError.of({"total": reason})


def due(connection: sa.Connection) -> list[int]:
    """Return the numbers of the scheduled campaigns whose time has come."""
    return list(connection.execute(sa.select(campaigns.c.campaign).where(_is_due())).scalars())


def start_due(
    connection: sa.Connection, number: int, *, count: Count | None = None
) -> Changed | None:
    """Start a scheduled campaign; None if it is not due any more, or locked by others.

    Raises:
        UncountedError: its results are to be counted first.
    """
    campaign = connection.execute(
        sa.select(campaigns)
        .where(campaigns.c.campaign == number, _is_due())
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if campaign is None:
        return None
    clock = Caller(campaign.organisation, "schedule")
    after = _begin(
        connection, campaign, clock, cause=Cause.SCHEDULE, total=campaign.total, count=count
    )
    return Changed(after, transitioned=True, before=campaign, cause=Cause.SCHEDULE)


def _is_due() -> sa.ColumnElement[bool]:
    return sa.and_(
        campaigns.c.state == State.SCHEDULED.value, campaigns.c.schedule_time <= database_now()
    )


def _begin(
    connection: sa.Connection,
    campaign: sa.Row[Any],
    caller: Caller,
    *,
    cause: Cause,
    total: int,
    count: Count | None,
    **times: datetime,
) -> sa.Row[Any]:
    # No messages, or all were reported before it was due: no later result completes it.
    known = None
    if counters_of(campaign).processed >= total:
        known = counting.of_locked(connection, campaign, total, count)
    now = read_clock(connection)
    values = {"total": total, "start_time": now, **times}
    sending = _guarded_update(connection, campaign, State.SENDING, values)
    write_transition(
        connection,
        campaign.state,
        sending,
        now=now,
        cause=cause,
        actor=caller.actor,
        reason="",
        on_behalf_of=caller.on_behalf_of,
    )
    if known is None:
        return sending
    counting.correct_groups(connection, sending.campaign, known)
    return settle(
        connection,
        sending,
        known.drift,
        now=now,
        cause=cause,
        actor=caller.actor,
        on_behalf_of=caller.on_behalf_of,
    )


def change_state(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    target: State,
    *,
    reason: str,
    revision: int = 0,
) -> Changed:
    """Pause, resume or cancel a campaign: bring it to ``target``.

    Raises:
        CampaignNotFoundError: there is none.
        RevisionMismatchError: it changed since the caller read it.
        TransitionNotAllowedError: its state does not allow it.
    """
    campaign = lock_one(
        connection, CampaignKey(caller.organisation, campaign_id), revision=revision
    )
    state = State(campaign.state)
    if state is target:
        return Changed(campaign, transitioned=False, before=campaign)
    # A draft is started by StartCampaign, which seals it; resuming is for PAUSED.
    if state not in sources(target) or (target is State.SENDING and state is not State.PAUSED):
        raise TransitionNotAllowedError(campaign_id, state=state, target=target)
    after = _enter(connection, campaign, target, caller, cause=Cause.USER, reason=reason)
    return Changed(after, transitioned=True, before=campaign)


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
        on_behalf_of=caller.on_behalf_of,
    )
    return after


def _guarded_update(
    connection: sa.Connection, campaign: sa.Row[Any], target: State, values: dict[str, Any]
) -> sa.Row[Any]:
    """Bring a locked campaign to ``target``; the statement names the states it may come from."""
    if target.is_terminal:
        # Problems hold nobody up any more.
        values = {**values, "problems": NO_PROBLEMS, "end_time": database_now()}
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
