"""One UPDATE adds to the counters and, if every message now has a result, completes the campaign.

This is the only place where counters move and a campaign becomes COMPLETED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from status_service.domain import State, sources
from status_service.recording.problems import NO_PROBLEMS
from status_service.recording.transitions import write_transition
from status_service.schema import campaigns

if TYPE_CHECKING:
    from datetime import datetime

    from status_service.domain import Cause, Counters

_COUNTERS = ("sent", "failed", "skipped", "unknown")


def _settling() -> sa.Executable:
    """Return the statement, built once: building it takes longer than running it."""
    columns = campaigns.c
    counters = {
        name: columns[name] + sa.bindparam(f"{name}_delta", type_=sa.BigInteger)
        for name in _COUNTERS
    }
    full = sa.and_(
        columns.state.in_(sources(State.COMPLETED)),
        columns.total.is_not(None),
        sum(counters.values(), sa.literal(0)) == columns.total,
    )
    now = sa.bindparam("now", type_=columns.complete_time.type)
    return (
        sa.update(campaigns)
        .where(columns.campaign == sa.bindparam("number", type_=sa.BigInteger))
        .values(
            **counters,
            revision=columns.revision + 1,
            state=sa.case((full, State.COMPLETED.value), else_=columns.state),
            # Written once: a campaign reopened by hand keeps the time it had.
            complete_time=sa.case(
                (full, sa.func.coalesce(columns.complete_time, now)), else_=columns.complete_time
            ),
            end_time=sa.case(
                (full, sa.func.coalesce(columns.end_time, now)), else_=columns.end_time
            ),
            progress_time=sa.func.coalesce(
                sa.bindparam("progressed", type_=columns.progress_time.type),
                columns.progress_time,
            ),
            # A problem holds nobody up any more once the campaign has ended.
            problems=sa.case(
                (full, NO_PROBLEMS),
                else_=sa.func.coalesce(sa.bindparam("problems", type_=sa.Text), columns.problems),
            ),
            last_reporter=sa.func.coalesce(
                sa.bindparam("reporter", type_=sa.Text), columns.last_reporter
            ),
        )
        .returning(campaigns)
    )


_SETTLE = _settling()


def settle(
    connection: sa.Connection,
    campaign: sa.Row[Any],
    deltas: Counters,
    *,
    now: datetime,
    cause: Cause,
    actor: str,
    reason: str = "",
    on_behalf_of: str = "",
    reporter: str = "",
    forced: int = 0,
    progressed: bool = False,
    problems: str | None = None,
) -> sa.Row[Any]:
    """Move the counters and, if that makes the campaign full, complete it.

    One UPDATE decides and does both; where it completed the campaign, the
    transition and its event follow in the same transaction.

    Args:
        connection: in a transaction that holds ``campaign`` locked.
        campaign: its row as it was locked.
        deltas: what to add to the counters.
        now: the database's time, read after the lock was taken.
        cause: why, if this completes it.
        actor: who, if this completes it.
        reason: the reason given, if this completes it.
        on_behalf_of: for whom the actor acts, if this completes it.
        reporter: who reported, by its own words, if new results came in.
        forced: how many messages were recorded as UNKNOWN to complete it.
        progressed: true if new results came in.
        problems: what holds the sender up from now on; None: what did so before.

    Returns:
        The row as it is now; its state says whether it was completed.
    """
    after = connection.execute(
        _SETTLE,
        {
            "number": campaign.campaign,
            **{f"{name}_delta": getattr(deltas, name) for name in _COUNTERS},
            "now": now,
            "progressed": now if progressed else None,
            "reporter": reporter if progressed else None,
            "problems": problems,
        },
    ).one()
    if after.state != campaign.state:
        write_transition(
            connection,
            campaign.state,
            after,
            now=now,
            cause=cause,
            actor=actor,
            reason=reason,
            on_behalf_of=on_behalf_of,
            forced=forced,
        )
    return after
