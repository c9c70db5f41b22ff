"""How far the delivery of a campaign is: totals by one query, shards in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Guarantee, Phase, Problem
from sender_service.errors import CampaignNotFoundError
from sender_service.store.schema import campaigns, deferrals, outcomes, resends, shards
from sender_service.store.values import problems_from_json
from service_runtime.database_time import database_now
from service_runtime.pages import Page

if TYPE_CHECKING:
    from service_runtime.pages import PageRequest


class DeliveryTotals(NamedTuple):
    """How a delivery stands, over all its shards.

    Attributes:
        campaign: the number of the campaign within the store.
        campaign_id: its id.
        phase: how far it is.
        total: messages in the audience.
        finished: messages that have an outcome.
        in_doubt: messages whose provider may have them, and whose answer is not known.
        deferred: messages that wait for another try.
        unreported: outcomes that the status service has not acknowledged.
        shards: how many shards there are.
        finished_shards: how many have an outcome for every message.
        leased_shards: how many an instance holds.
        problems: what holds the delivery up, as stored.
        family: of the campaign; empty: none.
        resend_of: the campaign that it sends again; empty: none.
        guarantee: what happens to a message whose provider's answer was lost.
    """

    campaign: int
    campaign_id: str
    phase: Phase
    total: int
    finished: int
    in_doubt: int
    deferred: int
    unreported: int
    shards: int
    finished_shards: int
    leased_shards: int
    problems: tuple[Problem, ...]
    family: str
    resend_of: str
    guarantee: Guarantee


def read_totals(connection: sa.Connection, organisation: str, campaign_id: str) -> DeliveryTotals:
    """Return how the delivery of a campaign stands.

    Raises:
        CampaignNotFoundError: there is none.
    """
    row = connection.execute(_totals_of(organisation, campaign_id)).one_or_none()
    if row is None:
        raise CampaignNotFoundError(campaign_id)
    return DeliveryTotals(
        campaign=row.campaign,
        campaign_id=row.campaign_id,
        phase=Phase(row.phase),
        total=row.total,
        finished=row.finished,
        in_doubt=row.handed_over - row.finished - row.deferred,
        deferred=row.deferred,
        unreported=row.finished - row.reported,
        shards=row.shards,
        finished_shards=row.finished_shards,
        leased_shards=row.leased_shards,
        problems=problems_from_json(row.problems),
        family=row.family,
        resend_of=row.resend_of,
        guarantee=Guarantee(row.guarantee),
    )


def list_shards(
    connection: sa.Connection, organisation: str, campaign_id: str, page: PageRequest
) -> Page:
    """Return one page of the shards of a campaign, in order.

    Raises:
        CampaignNotFoundError: there is none.
        InvalidRequestError: the page token is not one of this list.
    """
    question = ["shards", organisation, campaign_id]
    after = page.after(question)
    campaign = connection.execute(
        sa.select(campaigns.c.campaign).where(
            campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id
        )
    ).scalar_one_or_none()
    if campaign is None:
        raise CampaignNotFoundError(campaign_id)
    query = sa.select(shards).where(shards.c.campaign == campaign)
    if after is not None:
        query = query.where(shards.c.shard > after[0])
    rows = connection.execute(query.order_by(shards.c.shard).limit(page.size + 1)).all()
    return Page.of(rows, page, question, key_of=lambda row: [row.shard])


def _sum(part: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(part), 0), sa.BigInteger)


def _how_many(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return _sum(sa.case((condition, 1), else_=0))


_SIZE = shards.c.last_sequence - shards.c.first_sequence + 1
_DEFERRED = (
    sa.select(sa.func.count())
    .where(deferrals.c.campaign == campaigns.c.campaign, deferrals.c.attempting.is_(False))
    .scalar_subquery()
)
_source = campaigns.alias("source")
_RESEND_OF = (
    sa.select(_source.c.campaign_id)
    .join(resends, resends.c.source == _source.c.campaign)
    # One that was deleted has no name any more.
    .where(resends.c.campaign == campaigns.c.campaign, _source.c.organisation != "")
    .scalar_subquery()
)


def _totals_of(organisation: str, campaign_id: str) -> sa.Select[Any]:
    return (
        sa.select(
            campaigns.c.campaign,
            campaigns.c.campaign_id,
            campaigns.c.phase,
            campaigns.c.total,
            campaigns.c.problems,
            campaigns.c.family,
            campaigns.c.guarantee,
            sa.func.coalesce(_RESEND_OF, "").label("resend_of"),
            _DEFERRED.label("deferred"),
            sa.func.count(shards.c.shard).label("shards"),
            _sum(shards.c.journaled).label("finished"),
            _sum(shards.c.reported).label("reported"),
            _sum(shards.c.intent_through - shards.c.first_sequence + 1).label("handed_over"),
            _how_many(shards.c.journaled == _SIZE).label("finished_shards"),
            _how_many(shards.c.lease_expire_time.is_not(None)).label("leased_shards"),
        )
        .select_from(campaigns.outerjoin(shards, shards.c.campaign == campaigns.c.campaign))
        .where(campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id)
        .group_by(campaigns.c.campaign)
    )


class Backlog(NamedTuple):
    """What is not reported, and who holds shards, over all campaigns at work.

    Attributes:
        unreported: outcomes that the status service has not acknowledged.
        oldest_seconds: how long ago the oldest of them was found out; 0 if there is none.
        leased: how many shards an instance holds.
    """

    unreported: int
    oldest_seconds: float
    leased: int


def read_backlog(connection: sa.Connection) -> Backlog:
    """Return the backlog: a look at each shard of the campaigns at work and one outcome of it."""
    # The entries of a shard are in the order in which they were written. A join would have
    # SQLite go through all outcomes that are kept, whatever campaign they are of.
    next_time = (
        sa.select(outcomes.c.finish_time)
        .where(
            outcomes.c.campaign == shards.c.campaign,
            outcomes.c.shard == shards.c.shard,
            outcomes.c.entry == shards.c.reported + 1,
        )
        .scalar_subquery()
    )
    unreported, leased, oldest, now = connection.execute(
        sa.select(
            _sum(shards.c.journaled - shards.c.reported),
            _how_many(shards.c.lease_expire_time.is_not(None)),
            sa.func.min(next_time),
            database_now(),
        )
        .select_from(shards.join(campaigns, campaigns.c.campaign == shards.c.campaign))
        .where(campaigns.c.phase == Phase.STARTED.value)
    ).one()
    seconds = 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)
    return Backlog(unreported, seconds, leased)
