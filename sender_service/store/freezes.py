"""The guard of a freeze: what a look at the audience found must hold when it counts.

A look at an audience takes as long as the audience is large, so it runs before the
transaction that freezes it. The freeze compares two numbers with those of the look: how
often the family was frozen, and how many people the audience has. So two campaigns of
one family never miss each other, and the time under the write lock does not depend on
the size of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sender_service.domain import Phase
from sender_service.errors import LookOutdatedError
from sender_service.store.schema import campaigns, families
from service_runtime.database_time import UtcTime, database_now

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found, and what must not have changed since for it to hold.

    Attributes:
        freezes: as in the question.
        total: how many people were looked at.
        list_number: the list with those who are left out; None: nobody is.
        left_out: how many they are.
    """

    freezes: int
    total: int
    list_number: int | None = None
    left_out: int = 0


def begin_time(schedule_time: datetime | None) -> sa.ColumnElement[Any]:
    """Return the begin of a campaign of which the status service answered this time.

    None: it has begun; now if it was FROZEN, otherwise now at the latest.
    """
    if schedule_time is not None:
        return sa.literal(schedule_time, UtcTime())
    is_new = sa.or_(
        campaigns.c.phase == Phase.FROZEN.value, campaigns.c.begin_time > database_now()
    )
    return sa.case((is_new, database_now()), else_=campaigns.c.begin_time)


def enter(connection: sa.Connection, row: sa.Row[Any], look: Look | None) -> None:
    """Count the freeze of a campaign in its family, and check that a look still holds.

    Args:
        connection: in the write transaction that freezes it.
        row: the campaign, locked.
        look: what was found before; None: nothing had to be looked for.

    Raises:
        LookOutdatedError: it does not hold; the transaction must not be committed.
    """
    freezes = 1
    if row.family:
        freezes = _count_freeze(connection, row)
    if look is not None and (look.freezes + 1, look.total) != (freezes, row.total):
        raise LookOutdatedError


def _count_freeze(connection: sa.Connection, row: sa.Row[Any]) -> int:
    counted: int | None = connection.execute(
        sa.update(families)
        .where(families.c.organisation == row.organisation, families.c.family == row.family)
        .values(freezes=families.c.freezes + 1)
        .returning(families.c.freezes)
    ).scalar_one_or_none()
    if counted is not None:
        return counted
    connection.execute(
        sa.insert(families).values(organisation=row.organisation, family=row.family, freezes=1)
    )
    return 1
