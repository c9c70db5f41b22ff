"""Who would get a campaign of the same family twice.

An audience is looked at in parts, each of which is short, whatever the size of the
audience; :mod:`.freezes` makes sure that what was found still holds when it counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Outcome, Phase
from sender_service.store import bulk
from sender_service.store.schema import (
    campaigns,
    families,
    left_out,
    outcomes,
    recipients,
    resends,
)
from service_runtime.database_time import read_clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The most people who are looked at in one transaction.
PEOPLE_A_PART = 5_000
#: Pairs of a person and a campaign that one transaction searches for, about.
_PAIRS_A_PART = 25_000
#: Their provider has the message, or may have it.
_ARRIVED = (Outcome.SENT.value, Outcome.UNKNOWN.value)
_FROZEN = Phase.FROZEN.value
_LAST_TIME = datetime.max.replace(tzinfo=UTC)
_OPEN = (_FROZEN, Phase.STARTED.value)
_SEALED = (Phase.STARTED.value, Phase.FINISHED.value)


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
        organisation: whose it is.
        family: of the campaigns that are compared.
        total: how many people the audience has.
        freezes: how often an audience of the family was frozen.
        now: the time of the database.
        begin_time: when the campaign is to begin.
        span: how far from that another one counts.
        ancestors: the campaigns that it sends again, and those that they do, each with the
            outcomes that were selected there; who has one of them is not counted.
    """

    campaign: int
    organisation: str
    family: str
    total: int
    freezes: int
    now: datetime
    begin_time: datetime
    span: timedelta
    ancestors: tuple[tuple[int, tuple[int, ...]], ...]

    def earlier(self, *conditions: sa.ColumnElement[bool]) -> sa.CompoundSelect[int]:
        """Select the numbers of the campaigns that must not be repeated.

        Both parts are found by an index, however many campaigns the family has had.
        """
        of_family = sa.select(campaigns.c.campaign).where(
            # The partial index serves only what repeats its condition.
            campaigns.c.family != "",
            campaigns.c.organisation == self.organisation,
            campaigns.c.family == self.family,
            campaigns.c.campaign != self.campaign,
            *conditions,
        )
        last = _LAST_TIME - self.span
        begin = (self.begin_time - self.span, min(self.begin_time, last) + self.span)
        return sa.union_all(
            of_family.where(campaigns.c.phase.in_(_SEALED), campaigns.c.begin_time.between(*begin)),
            # It begins as soon as the status service answers, whenever that is.
            of_family.where(campaigns.c.phase == _FROZEN),
        )


def ask(connection: sa.Connection, row: sa.Row[Any], start_time: datetime | None) -> Question:
    """Return what is to be looked at before a campaign can be frozen.

    Args:
        connection: of a snapshot, from which ``row`` is as well.
        row: the campaign.
        start_time: when it is to begin; None: now.
    """
    now = read_clock(connection)
    freezes = connection.execute(
        sa.select(families.c.freezes).where(
            families.c.organisation == row.organisation, families.c.family == row.family
        )
    ).scalar_one_or_none()
    return Question(
        campaign=row.campaign,
        organisation=row.organisation,
        family=row.family,
        total=row.total,
        freezes=freezes or 0,
        now=now,
        begin_time=start_time or now,
        span=timedelta(milliseconds=row.repeat_after_ms),
        ancestors=tuple(_ancestors(connection, row.campaign)),
    )


def count_others(connection: sa.Connection, question: Question) -> int:
    """Return how many campaigns there are that must not be repeated, up to a great number."""
    others = question.earlier().limit(_PAIRS_A_PART).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(others)).scalar_one()


def people_a_part(others: int) -> int:
    """Return how many people one transaction looks at, with so many other campaigns.

    What one takes does not grow with the number of campaigns.

    Args:
        others: what :func:`count_others` returned, and not 0.
    """
    return min(PEOPLE_A_PART, _PAIRS_A_PART // others)


def latest(connection: sa.Connection, numbers: Sequence[int]) -> Earlier:
    """Return the campaign among ``numbers``, of which there is one, that begins last."""
    found = []
    for part in bulk.chunks(numbers):
        query = (
            sa.select(
                campaigns.c.campaign,
                campaigns.c.campaign_id,
                campaigns.c.display_name,
                campaigns.c.begin_time,
                campaigns.c.phase.in_(_OPEN),
            )
            .where(campaigns.c.campaign.in_(part))
            .order_by(campaigns.c.begin_time.desc(), campaigns.c.campaign.desc())
            .limit(1)
        )
        found.append(Earlier(*connection.execute(query).one()))
    return max(found, key=lambda earlier: earlier.begin_time)


def _ancestors(connection: sa.Connection, campaign: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return the campaigns that one sends again, and those that they do."""
    found: list[tuple[int, tuple[int, ...]]] = []
    next_one: int | None = campaign
    while next_one is not None:
        row = connection.execute(
            sa.select(resends.c.source, resends.c.outcomes).where(resends.c.campaign == next_one)
        ).one_or_none()
        next_one = None if row is None else row.source
        if row is not None:
            found.append((row.source, tuple(json.loads(row.outcomes))))
    return found


def find(connection: sa.Connection, question: Question, *, first: int, last: int) -> dict[int, int]:
    """Return who of one part of the audience has an earlier campaign, and which.

    By sequence, from ``first`` to ``last``; of several campaigns one is returned.
    """
    rows = connection.execute(_repeated(question, first, last))
    return {row.sequence: row.earlier for row in rows}


def leave_out(
    connection: sa.Connection, question: Question, *, list_number: int, people: Mapping[int, int]
) -> None:
    """Put people whom :func:`find` found on a list."""
    for part in bulk.chunks(list(people.items())):
        connection.execute(
            sa.insert(left_out),
            [
                {
                    "campaign": question.campaign,
                    "list": list_number,
                    "sequence": sequence,
                    "earlier": earlier,
                }
                for sequence, earlier in part
            ],
        )


def _repeated(question: Question, first: int, last: int) -> sa.Select[Any]:
    """Select sequence and earlier campaign of those in a part who would get it twice."""
    other = recipients.alias("other")
    is_open = question.earlier(campaigns.c.phase.in_(_OPEN))
    return (
        sa.select(recipients.c.sequence, sa.func.max(other.c.campaign).label("earlier"))
        .select_from(
            recipients.join(
                other,
                sa.and_(
                    other.c.campaign.in_(question.earlier()),
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
            recipients.c.sequence.between(first, last),
            sa.or_(
                sa.and_(outcomes.c.outcome.in_(_ARRIVED), ~_is_selected(question)),
                sa.and_(
                    outcomes.c.outcome.is_(None),
                    other.c.campaign.in_(is_open),
                    ~_is_left_out(other),
                ),
            ),
        )
        .group_by(recipients.c.sequence)
    )


def _is_selected(question: Question) -> sa.ColumnElement[bool]:
    """Return whether an outcome is one for which its campaign is sent again."""
    selected = [
        (source, outcome)
        for source, outcomes_there in question.ancestors
        for outcome in outcomes_there
    ]
    return sa.tuple_(outcomes.c.campaign, outcomes.c.outcome).in_(selected)


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
