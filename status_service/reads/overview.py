"""Which campaigns need a person, judged from their rows alone: no result is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from status_service.campaigns.open_campaigns import IDLE_SINCE, NEEDS_A_PERSON, PROCESSED
from status_service.domain import OPEN
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

_COLUMNS = campaigns.c
_OPEN = sorted(state.value for state in OPEN)


class Needy(NamedTuple):
    """Campaigns that need a person.

    Attributes:
        rows: the first ones, rows of ``campaigns``, longest without a new result first.
        number: how many there are.
        other_open: how many others are SENDING or PAUSED.
    """

    rows: Sequence[sa.Row[Any]]
    number: int
    other_open: int


def needy_campaigns(
    connection: sa.Connection,
    organisation: str,
    *,
    stall_threshold: timedelta,
    now: datetime,
    limit: int,
) -> Needy:
    """Return the campaigns that need a person.

    Those are the ones that :meth:`.domain.Diagnosis.needs_attention` says so of, and those
    with a problem that needs one. It costs what is open, not what has ended.
    """
    of_organisation = _COLUMNS.organisation == organisation
    stalled = sa.select(_COLUMNS.campaign, _COLUMNS.state, IDLE_SINCE).where(
        of_organisation,
        _COLUMNS.state == sa.literal_column("'SENDING'"),
        _COLUMNS.total > PROCESSED,
        now - stall_threshold > IDLE_SINCE,
    )
    troubled = sa.select(_COLUMNS.campaign, _COLUMNS.state, IDLE_SINCE).where(
        of_organisation,
        _COLUMNS.problems != sa.literal_column("'[]'"),  # as the index has it
        _COLUMNS.problems.like(NEEDS_A_PERSON),
    )
    needy = sa.union(stalled, troubled).subquery()
    first = (
        sa.select(
            needy.c.campaign,
            needy.c.idle_since,
            sa.func.count().over().label("number"),
            sa.func.count().filter(needy.c.state.in_(_OPEN)).over().label("open_ones"),
        )
        .order_by(needy.c.idle_since, needy.c.campaign)
        .limit(limit)
        .subquery()
    )
    rows = connection.execute(
        sa.select(campaigns, first.c.number, first.c.open_ones)
        .join(first, first.c.campaign == _COLUMNS.campaign)
        .order_by(first.c.idle_since, first.c.campaign)
    ).all()
    open_ones: int = connection.execute(
        sa.select(sa.func.count()).where(of_organisation, _COLUMNS.state.in_(_OPEN))
    ).scalar_one()
    if not rows:
        return Needy([], 0, open_ones)
    return Needy(rows, rows[0].number, open_ones - rows[0].open_ones)
