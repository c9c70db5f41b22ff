"""The campaigns as the sender stores them: content, options, phase, what holds them up."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Phase, Problem, State, cut_shards
from sender_service.errors import CampaignAlreadyExistsError, CampaignNotFoundError
from sender_service.store import freezes
from sender_service.store.schema import campaigns, shards
from sender_service.store.values import NO_PROBLEMS, problems_to_json
from service_runtime.database_time import database_now, read_clock
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sender_service.store.freezes import Look
    from sender_service.store.values import NewCampaign

#: How far past a start time may be when its campaign is started.
_PAST_ALLOWED = timedelta(minutes=1)
#: Shards written by one statement.
_SHARDS_A_STATEMENT = 1_000
_UNSEALED = (Phase.COLLECTING.value, Phase.FROZEN.value)
#: What of a campaign is held while it is at work; its content may be 256 KiB and more.
_WITHOUT_CONTENT = [column for column in campaigns.c if column is not campaigns.c.content]


def find(
    connection: sa.Connection, organisation: str, *, campaign_id: str = "", request_id: str = ""
) -> sa.Row[Any] | None:
    """Return the campaign with the id or, without one, of the request; None if there is none.

    Without its content.
    """
    same = (
        campaigns.c.campaign_id == campaign_id
        if campaign_id
        else campaigns.c.request_id == request_id
    )
    return connection.execute(
        sa.select(*_WITHOUT_CONTENT).where(campaigns.c.organisation == organisation, same)
    ).one_or_none()


def get(
    connection: sa.Connection, organisation: str, campaign_id: str, *, lock: bool = False
) -> sa.Row[Any]:
    """Return a campaign without its content, locked against other writers if asked.

    Raises:
        CampaignNotFoundError: there is none.
    """
    query = sa.select(*_WITHOUT_CONTENT).where(
        campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id
    )
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise CampaignNotFoundError(campaign_id)
    return row


def get_content(connection: sa.Connection, organisation: str, campaign_id: str) -> str:
    """Return the content of a campaign, as it is stored.

    Raises:
        CampaignNotFoundError: there is no such campaign.
    """
    content: str | None = connection.scalar(
        sa.select(campaigns.c.content).where(
            campaigns.c.organisation == organisation, campaigns.c.campaign_id == campaign_id
        )
    )
    if content is None:
        raise CampaignNotFoundError(campaign_id)
    return content


def same_or_raise(row: sa.Row[Any], request_digest: str) -> None:
    """Check that a stored campaign is what the caller asks for again.

    Raises:
        CampaignAlreadyExistsError: it has other content or options.
    """
    if row.request_digest != request_digest:
        raise CampaignAlreadyExistsError(row.campaign_id)


def insert(connection: sa.Connection, new: NewCampaign) -> bool:
    """Store a campaign; False if it was there already.

    Raises:
        CampaignAlreadyExistsError: the id is taken by other content.
    """
    existing = find(connection, new.organisation, campaign_id=new.campaign_id)
    if existing is not None:
        same_or_raise(existing, new.request_digest)
        return False
    connection.execute(
        sa.insert(campaigns).values(
            organisation=new.organisation,
            campaign_id=new.campaign_id,
            request_id=new.request_id or None,
            display_name=new.display_name,
            channel=new.channel,
            content=new.content,
            content_digest=new.content_digest,
            request_digest=new.request_digest,
            guarantee=new.guarantee.value,
            max_in_flight=new.max_in_flight,
            max_attempts=new.max_attempts,
            initial_backoff_ms=new.initial_backoff_ms,
            max_backoff_ms=new.max_backoff_ms,
            retry_deadline_ms=new.retry_deadline_ms,
            labels=json.dumps(dict(new.labels)),
            family=new.family,
            repeat_after_ms=new.repeat_after_ms,
            create_time=database_now(),
        )
    )
    return True


def freeze(
    connection: sa.Connection,
    organisation: str,
    campaign_id: str,
    *,
    shard_size: int,
    start_time: datetime | None,
    start_now: bool = False,
    look: Look | None = None,
) -> sa.Row[Any]:
    """Freeze the audience and cut it into shards; return the campaign, without its content.

    A campaign that was frozen before keeps its shards, and who is left out of it. Until
    it is sealed it takes a new ``start_time``; without one it keeps its time, but for
    ``start_now``. ``look`` is what was found before, see :mod:`.freezes`; None: nothing was
    looked for.

    Raises:
        CampaignNotFoundError: there is none.
        InvalidRequestError: it is not sealed, and ``start_time`` is past and new.
        LookOutdatedError: the look holds no longer; the transaction must be rolled back.
    """
    row = get(connection, organisation, campaign_id, lock=True)
    is_sealed = row.phase not in _UNSEALED
    if not is_sealed and start_time not in {None, row.schedule_time}:
        check_not_past(connection, start_time)
    changes: dict[str, Any] = {}
    if row.phase == Phase.COLLECTING:
        freezes.enter(connection, row, look)
        if look is not None:
            changes = {"left_out_list": look.list_number, "left_out": look.left_out}
        ranges = list(enumerate(cut_shards(row.total, shard_size), start=1))
        for start in range(0, len(ranges), _SHARDS_A_STATEMENT):
            connection.execute(
                sa.insert(shards),
                [
                    {
                        "campaign": row.campaign,
                        "shard": shard,
                        "first_sequence": first,
                        "last_sequence": last,
                        "intent_through": first - 1,
                    }
                    for shard, (first, last) in ranges[start : start + _SHARDS_A_STATEMENT]
                ],
            )
    if is_sealed:
        return row
    keeps_time = start_time is None and not start_now
    schedule_time = row.schedule_time if keeps_time else start_time
    return connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign == row.campaign)
        .values(
            phase=Phase.FROZEN.value,
            schedule_time=schedule_time,
            begin_time=database_now() if schedule_time is None else schedule_time,
            **changes,
        )
        .returning(*_WITHOUT_CONTENT)
    ).one()


def check_not_past(connection: sa.Connection, start_time: datetime | None) -> None:
    """Check that a campaign may still be started with a time; None: now.

    Raises:
        InvalidRequestError: it is more than a minute past.
    """
    if start_time is not None and start_time < read_clock(connection) - _PAST_ALLOWED:
        raise InvalidRequestError.of(
            {"start_time": "more than a minute past; leave it out to start now"}
        )


def mark_started(
    connection: sa.Connection, campaign: int, *, schedule_time: datetime | None = None
) -> None:
    """Note that the status service sealed a campaign, for ``schedule_time`` if it has one.

    FROZEN becomes STARTED; a campaign in a later phase only takes the time.
    """
    connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign == campaign)
        .values(schedule_time=schedule_time, begin_time=freezes.begin_time(schedule_time))
    )
    connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign == campaign, campaigns.c.phase == Phase.FROZEN.value)
        .values(phase=Phase.STARTED.value, start_time=database_now(), problems=NO_PROBLEMS)
    )


def drop_unstarted(connection: sa.Connection, campaign: int, problem: Problem) -> None:
    """End a campaign that was cancelled before it was sealed.

    None of its messages has an outcome, since the status service counts none.
    """
    ended = connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign == campaign, campaigns.c.phase.in_(_UNSEALED))
        .values(
            phase=Phase.FINISHED.value,
            state=State.CANCELLED.value,
            finish_time=database_now(),
            problems=problems_to_json([problem]),
        )
    )
    if ended.rowcount:
        connection.execute(sa.delete(shards).where(shards.c.campaign == campaign))


def open_campaigns(connection: sa.Connection, organisation: str = "") -> Sequence[sa.Row[Any]]:
    """Return the campaigns with something left to do, without content, oldest first.

    Those of one organisation; empty: of all.
    """
    query: sa.Select[Any] = sa.select(*_WITHOUT_CONTENT)
    if organisation:
        query = query.where(campaigns.c.organisation == organisation)
    return connection.execute(
        query.where(campaigns.c.phase.in_([Phase.FROZEN.value, Phase.STARTED.value])).order_by(
            campaigns.c.campaign
        )
    ).all()


def organisations_finished_lately(connection: sa.Connection, days: int) -> list[str]:
    """Return the organisations of which a campaign ended within so many days.

    Each is found by itself: ended campaigns are not gone through.
    """
    since = read_clock(connection) - timedelta(days=days)
    found: list[str] = []
    last = ""
    while True:
        name = connection.scalar(_FINISHED_OF.where(campaigns.c.organisation > last))
        if name is None:
            return found
        last = name
        lately = _FINISHED_OF.where(
            campaigns.c.organisation == name, campaigns.c.finish_time > since
        )
        if connection.scalar(lately) is not None:
            found.append(name)


_HAS_ENDED = sa.and_(campaigns.c.finish_time.is_not(None), campaigns.c.start_time.is_not(None))
_FINISHED_OF = (
    sa.select(campaigns.c.organisation).where(_HAS_ENDED).order_by(campaigns.c.organisation)
).limit(1)


class EndedBefore(NamedTuple):
    """A place in the order in which campaigns ended: those that ended before it."""

    finish_time: datetime
    campaign: int


def finished_lately(
    connection: sa.Connection,
    organisation: str,
    days: int,
    *,
    before: EndedBefore | None = None,
    limit: int | None = None,
) -> Sequence[sa.Row[Any]]:
    """Return number, id, total and end of an organisation's campaigns that ended lately.

    Those that ended within so many days, the last one first; those that were never started
    are left out.

    Args:
        connection: on a snapshot, or in a write transaction.
        organisation: whose.
        days: how long ago they ended at most.
        before: only those that ended before; None: all.
        limit: so many at most; None: all.
    """
    columns = campaigns.c
    since = read_clock(connection) - timedelta(days=days)
    query: sa.Select[Any] = sa.select(
        columns.campaign, columns.campaign_id, columns.total, columns.finish_time
    ).where(
        _HAS_ENDED,
        columns.organisation == organisation,
        columns.phase == Phase.FINISHED.value,
        columns.finish_time > since,
        # Without its outcomes nothing of it can be reported again.
        columns.recipients_remove_time.is_(None),
    )
    if before is not None:
        # The first condition lets the index begin there.
        query = query.where(
            columns.finish_time <= before.finish_time,
            sa.or_(columns.finish_time < before.finish_time, columns.campaign < before.campaign),
        )
    order = (columns.finish_time.desc(), columns.campaign.desc())
    return connection.execute(query.order_by(*order).limit(limit)).all()


def store_state(connection: sa.Connection, campaign: int, state: State) -> None:
    """Store the last known state of a campaign, for people only; code never reads it."""
    connection.execute(
        sa.update(campaigns).where(campaigns.c.campaign == campaign).values(state=state.value)
    )


def store_problems(connection: sa.Connection, campaign: int, problems: Iterable[Problem]) -> None:
    """Store what holds a campaign up; none: nothing does."""
    connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.campaign == campaign)
        .values(problems=problems_to_json(problems))
    )


def clear_problems(connection: sa.Connection) -> None:
    """Forget what held campaigns up before a restart; what still does shows again.

    Only campaigns at work are held up, and they have an index of their own.
    """
    connection.execute(
        sa.update(campaigns)
        .where(campaigns.c.phase.in_([Phase.FROZEN.value, Phase.STARTED.value]))
        .values(problems=NO_PROBLEMS)
    )
