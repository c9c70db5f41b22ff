"""Messages that wait for a try: the rows of ``deferrals``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

import sqlalchemy as sa

from sender_service.store import bulk
from sender_service.store.schema import deferrals

if TYPE_CHECKING:
    from collections.abc import Sequence

#: sequence, attempts, delay (µs), lost, first_attempt_time (µs or None), code, detail
DeferralRow: TypeAlias = tuple[int, int, int, bool, int | None, str, str]

_COLUMNS = (
    "campaign",
    "shard",
    "attempting",
    "sequence",
    "attempts",
    "next_attempt_time",
    "lost",
    "first_attempt_time",
    "code",
    "detail",
)


def of_shard(campaign: int, shard: int) -> sa.ColumnElement[bool]:
    """Return the condition for the rows of one shard."""
    return sa.and_(deferrals.c.campaign == campaign, deferrals.c.shard == shard)


def defer(
    connection: sa.Connection,
    campaign: int,
    shard: int,
    rows: Sequence[DeferralRow],
    now: datetime,
) -> None:
    """Let messages wait, each from ``now`` on for its delay; none of them is in doubt then."""
    moment = bulk.microseconds(now)
    bulk.insert(
        connection,
        deferrals,
        _COLUMNS,
        [
            (campaign, shard, False, sequence, attempts, moment + delay, lost, first, code, detail)
            for sequence, attempts, delay, lost, first, code, detail in rows
        ],
        replace=True,
    )


def end(connection: sa.Connection, campaign: int, sequences: Sequence[int]) -> None:
    """Remove the rows of messages that have their outcome."""
    for part in bulk.chunks(sequences):
        connection.execute(
            sa.delete(deferrals).where(
                deferrals.c.campaign == campaign, deferrals.c.sequence.in_(part)
            )
        )


def first_due(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> datetime | None:
    """Return when the first waiting message may be tried; None where none waits."""
    due: datetime | None = connection.execute(
        sa.select(sa.func.min(deferrals.c.next_attempt_time)).where(
            condition, deferrals.c.attempting.is_(False)
        )
    ).scalar_one()
    return due
