"""Who would get a campaign of the same family twice, and the guard that the answer holds.

A look at an audience takes as long as the audience is large, so it runs before the
transaction that freezes it, in parts. The freeze then compares two numbers with those of
the look: how often the family was frozen, and how many people the audience has. So two
campaigns of one family never miss each other, and the time under the write lock does not
depend on the size of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Outcome, Phase
from sender_service.errors import LookOutdatedError
from sender_service.store.schema import (
    campaigns,
    families,
    left_out,
    outcomes,
    recipients,
    resends,
)
from service_runtime.database import UtcTime, database_now, read_clock

if TYPE_CHECKING:
    from collections.abc import Mapping

#: People who are looked at in one transaction.
PEOPLE_A_PART = 5_000
#: Their provider has the message, or may have it.
_ARRIVED = (Outcome.SENT.value, Outcome.UNKNOWN.value)
_OPEN = (Phase.FROZEN.value, Phase.STARTED.value)


class Earlier(NamedTuple):
    """Another campaign of the family, near enough in time; ``is_open`` until it has ended."""

    campaign: int
    campaign_id: str
    display_name: str
    begin_time: datetime
    is_open: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Whose audience is looked at, and what it is compared with.

    Attributes:
        campaign: the number of the campaign.
        family: of all of them.
        total: how many people the audience has.
        freezes: how often an audience of the family was frozen.
        earlier: the campaigns that must not be repeated, by number.
        now: the time of the database.
    """

    campaign: int
    family: str
    total: int
    freezes: int
    earlier: Mapping[int, Earlier]
    now: datetime


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


def ask(connection: sa.Connection, row: sa.Row[Any], start_time: datetime | None) -> Question:
    """Return what is to be looked at before a campaign can be frozen.

    Args:
        connection: of a snapshot, from which ``row`` is as well.
        row: the campaign.
        start_time: when it is to begin; None: now.
    """
    now = read_clock(connection)
    return Question(
        campaign=row.campaign,
        family=row.family,
        total=row.total,
        freezes=_freezes(connection, row),
        earlier={found.campaign: found for found in _earlier(connection, row, now, start_time)},
        now=now,
    )


def _freezes(connection: sa.Connection, row: sa.Row[Any]) -> int:
    found = connection.execute(
        sa.select(families.c.freezes).where(
            families.c.organisation == row.organisation, families.c.family == row.family
        )
    ).scalar_one_or_none()
    return found or 0


def _earlier(
    connection: sa.Connection, row: sa.Row[Any], now: datetime, start_time: datetime | None
) -> list[Earlier]:
    span = timedelta(milliseconds=row.repeat_after_ms)
    begin = start_time or now
    of_family = (campaigns.c.organisation == row.organisation, campaigns.c.family == row.family)
    found = connection.execute(
        sa.select(
            campaigns.c.campaign,
            campaigns.c.campaign_id,
            campaigns.c.display_name,
            campaigns.c.begin_time,
            campaigns.c.phase.in_(_OPEN),
        ).where(
            # The partial index serves only what repeats its condition.
            campaigns.c.family != "",
            *of_family,
            sa.or_(
                campaigns.c.begin_time.between(begin - span, begin + span),
                # It begins as soon as the status service answers, whenever that is.
                campaigns.c.phase == Phase.FROZEN.value,
            ),
            campaigns.c.campaign.not_in([row.campaign, *_ancestors(connection, row.campaign)]),
        )
    )
    return [Earlier(*values) for values in found]


def _ancestors(connection: sa.Connection, campaign: int) -> list[int]:
    """Return the campaigns that one sends again, and those that they do."""
    found: list[int] = []
    source: int | None = campaign
    while source is not None:
        source = connection.execute(
            sa.select(resends.c.source).where(resends.c.campaign == source)
        ).scalar_one_or_none()
        if source is not None:
            found.append(source)
    return found


def count(connection: sa.Connection, question: Question, *, first: int) -> dict[int, int]:
    """Return how many people of one part of the audience each earlier campaign has.

    A person of several counts for one of them. ``first`` is the first sequence of the
    part, which has :data:`PEOPLE_A_PART` of them.
    """
    repeated = _repeated(question, first).subquery()
    rows = connection.execute(
        sa.select(repeated.c.earlier, sa.func.count()).group_by(repeated.c.earlier)
    )
    return {row[0]: row[1] for row in rows}


def leave_out(
    connection: sa.Connection, question: Question, *, list_number: int, first: int
) -> dict[int, int]:
    """Put the people whom :func:`count` counts on a list; return what that returns."""
    repeated = _repeated(question, first).subquery()
    connection.execute(
        sa.insert(left_out).from_select(
            ["campaign", "list", "sequence", "earlier"],
            sa.select(
                sa.literal(question.campaign),
                sa.literal(list_number),
                repeated.c.sequence,
                repeated.c.earlier,
            ),
        )
    )
    rows = connection.execute(
        sa.select(left_out.c.earlier, sa.func.count())
        .where(
            left_out.c.campaign == question.campaign,
            left_out.c.list == list_number,
            left_out.c.sequence.between(*_part(question, first)),
        )
        .group_by(left_out.c.earlier)
    )
    return {row[0]: row[1] for row in rows}


def _part(question: Question, first: int) -> tuple[int, int]:
    return first, min(first + PEOPLE_A_PART - 1, question.total)


def _repeated(question: Question, first: int) -> sa.Select[Any]:
    """Select sequence and earlier campaign of those in a part who would get it twice."""
    other = recipients.alias("other")
    is_open = [earlier.campaign for earlier in question.earlier.values() if earlier.is_open]
    return (
        sa.select(recipients.c.sequence, sa.func.max(other.c.campaign).label("earlier"))
        .select_from(
            recipients.join(
                other,
                sa.and_(
                    other.c.campaign.in_(list(question.earlier)),
                    other.c.address == recipients.c.address,
                ),
            ).outerjoin(
                outcomes,
                sa.and_(
                    outcomes.c.campaign == other.c.campaign,
                    outcomes.c.sequence == other.c.sequence,
                ),
            )
        )
        .where(
            recipients.c.campaign == question.campaign,
            recipients.c.sequence.between(*_part(question, first)),
            sa.or_(
                outcomes.c.outcome.in_(_ARRIVED),
                sa.and_(
                    outcomes.c.outcome.is_(None),
                    other.c.campaign.in_(is_open),
                    ~_is_left_out(other),
                ),
            ),
        )
        .group_by(recipients.c.sequence)
    )


def _is_left_out(person: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return whether a person of an open campaign gets nothing from it."""
    theirs = campaigns.alias("theirs")
    return (
        sa.exists()
        .where(
            theirs.c.campaign == person.c.campaign,
            left_out.c.campaign == person.c.campaign,
            left_out.c.list == theirs.c.left_out_list,
            left_out.c.sequence == person.c.sequence,
        )
        .correlate(person)
    )


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
