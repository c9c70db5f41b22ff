"""What is deleted and what is kept no longer: removed in small transactions.

``removals`` says what is left to do, and how far it is: whoever goes on after a crash begins
where the last commit ended.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Phase
from sender_service.store.schema import (
    campaigns,
    deferrals,
    deleted_campaigns,
    left_out,
    outcomes,
    recipients,
    removals,
    resends,
    shards,
    uploads,
)
from sender_service.store.values import NO_PROBLEMS
from service_runtime.database_time import read_clock

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Messages of which one transaction removes everything.
MESSAGES_AT_ONCE: Final = 1_000
#: Rows of what is not by message that one transaction removes.
ROWS_AT_ONCE: Final = 1_000
#: Campaigns that one transaction finds too old.
CAMPAIGNS_AT_ONCE: Final = 100
#: The organisation of a row whose campaign was deleted: that of nobody.
NOBODY: Final = ""


class Expiry(NamedTuple):
    """How long content and recipients of ended campaigns are kept; None: for ever."""

    content: timedelta | None = None
    recipients: timedelta | None = None

    @classmethod
    def of_days(cls, content: int, recipients: int) -> Expiry:
        """Return it by numbers of days; 0: for ever."""
        return cls(
            timedelta(days=content) if content else None,
            timedelta(days=recipients) if recipients else None,
        )


class Removal(NamedTuple):
    """Something to be removed.

    Attributes:
        campaign: the number of the campaign.
        what: ``recipients``, or ``campaign`` for all of a deleted one.
        position: up to which message they are gone.
        removed: how many rows are gone.
    """

    campaign: int
    what: str
    position: int
    removed: int


class Step(NamedTuple):
    """What one transaction did.

    Attributes:
        rows: how many rows it removed.
        done: true if nothing is left to do.
        removed: how many rows are gone since the removal began.
    """

    rows: int
    done: bool
    removed: int


def find_deleted(
    connection: sa.Connection, organisation: str, campaign_id: str
) -> sa.Row[Any] | None:
    """Return what is known of a deleted campaign; None: there was none with this id."""
    return connection.execute(
        sa.select(deleted_campaigns).where(
            deleted_campaigns.c.organisation == organisation,
            deleted_campaigns.c.campaign_id == campaign_id,
        )
    ).one_or_none()


def delete(connection: sa.Connection, row: sa.Row[Any], *, actor: str) -> bool:
    """Delete a campaign that nobody works on; its rows are removed later, bit by bit.

    Returns:
        False if it has come to work, or was deleted, since ``row`` was read.
    """
    now = read_clock(connection)
    disowned = connection.execute(
        sa.update(campaigns)
        .where(
            campaigns.c.campaign == row.campaign,
            campaigns.c.organisation == row.organisation,
            campaigns.c.phase == row.phase,
        )
        .values(
            organisation=NOBODY,
            campaign_id=str(row.campaign),  # no other row of nobody has it
            request_id=None,
            display_name="",
            content="",
            labels="{}",
            family="",
            problems=NO_PROBLEMS,
            phase=Phase.FINISHED.value,
            finish_time=None,
            content_remove_time=now,
            recipients_remove_time=now,
        )
    )
    if not disowned.rowcount:
        return False
    connection.execute(
        sa.insert(deleted_campaigns).values(
            campaign=row.campaign,
            organisation=row.organisation,
            campaign_id=row.campaign_id,
            actor=actor,
            delete_time=now,
        )
    )
    connection.execute(sa.delete(removals).where(removals.c.campaign == row.campaign))
    connection.execute(sa.insert(removals).values(campaign=row.campaign, what="campaign"))
    return True


def first(connection: sa.Connection) -> Removal | None:
    """Return something that is to be removed; None: there is nothing."""
    row = connection.execute(
        sa.select(removals).order_by(removals.c.campaign, removals.c.what).limit(1)
    ).one_or_none()
    return None if row is None else Removal(*row)


def key_of(connection: sa.Connection, found: Removal) -> dict[str, str]:
    """Return what callers know a campaign by, deleted or not, as fields of a log line."""
    table = deleted_campaigns if found.what == "campaign" else campaigns
    row = connection.execute(
        sa.select(table.c.organisation, table.c.campaign_id).where(
            table.c.campaign == found.campaign
        )
    ).one()
    return {"campaign_id": row.campaign_id, "organisation": row.organisation}


def is_due(connection: sa.Connection, expiry: Expiry) -> bool:
    """Return whether something of a campaign is kept for longer than it is to be."""
    return any(
        connection.execute(_too_old(connection, what, age).limit(1)).first() is not None
        for what, age in _parts(expiry)
    )


def expire(connection: sa.Connection, expiry: Expiry) -> list[tuple[str, sa.Row[Any]]]:
    """Remove the content of campaigns that ended long ago, and note whose recipients are to go.

    Returns:
        Of each campaign whose content went or whose recipients are to go, which of the two,
        and its organisation and id.
    """
    now = read_clock(connection)
    found = []
    for what, age in _parts(expiry):
        query = _too_old(connection, what, age).order_by(campaigns.c.finish_time)
        for row in connection.execute(query.limit(CAMPAIGNS_AT_ONCE)).all():
            values = {f"{what}_remove_time": now} | ({"content": ""} if what == "content" else {})
            connection.execute(
                sa.update(campaigns).where(campaigns.c.campaign == row.campaign).values(values)
            )
            if what == "recipients":
                connection.execute(sa.insert(removals).values(campaign=row.campaign, what=what))
            found.append((what, row))
    return found


def _parts(expiry: Expiry) -> list[tuple[str, timedelta]]:
    named = (("content", expiry.content), ("recipients", expiry.recipients))
    return [(what, age) for what, age in named if age is not None]


def _too_old(connection: sa.Connection, what: str, age: timedelta) -> sa.Select[Any]:
    columns = campaigns.c
    return sa.select(columns.campaign, columns.organisation, columns.campaign_id).where(
        columns.finish_time.is_not(None),
        columns[f"{what}_remove_time"].is_(None),
        columns.finish_time < read_clock(connection) - age,
    )


def step(connection: sa.Connection, removal: Removal) -> Step:
    """Remove the next rows; the last step of a removal ends it."""
    number, what, position, removed = removal
    total = connection.execute(
        sa.select(campaigns.c.total).where(campaigns.c.campaign == number)
    ).scalar_one()
    through = position + MESSAGES_AT_ONCE
    rows = 0
    done = False
    if position < total:
        rows = _remove_messages(connection, number, position, through)
    else:
        through = position
        rows = _remove_lists(connection, number, everything=what == "campaign")
        done = not rows
    if done:
        if what == "campaign":
            rows += _remove_row(connection, number)
        else:
            connection.execute(
                sa.update(uploads).where(uploads.c.campaign == number).values(rejected_rows="[]")
            )
    ended = sa.and_(removals.c.campaign == number, removals.c.what == what)
    if done:
        connection.execute(sa.delete(removals).where(ended))
    else:
        connection.execute(
            sa.update(removals)
            .where(ended)
            .values(position=through, removed=removals.c.removed + rows)
        )
    return Step(rows, done, removed + rows)


def _remove_messages(connection: sa.Connection, campaign: int, after: int, through: int) -> int:
    return sum(
        connection.execute(
            sa.delete(table).where(
                table.c.campaign == campaign,
                table.c.sequence > after,
                table.c.sequence <= through,
            )
        ).rowcount
        for table in (recipients, outcomes, deferrals)
    )


def _remove_lists(connection: sa.Connection, campaign: int, *, everything: bool) -> int:
    """Remove some rows of what is not by message; 0: none is left."""
    keys: list[Iterable[sa.Column[Any]]] = [(left_out.c.list, left_out.c.sequence)]
    if everything:
        keys += [(shards.c.shard,), (uploads.c.upload_id,)]
    for columns in keys:
        key = sa.tuple_(*columns)
        table = next(iter(columns)).table
        some = sa.select(*columns).where(table.c.campaign == campaign).limit(ROWS_AT_ONCE)
        gone = connection.execute(
            sa.delete(table).where(table.c.campaign == campaign, key.in_(some))
        )
        if gone.rowcount:
            return gone.rowcount
    return 0


def _remove_row(connection: sa.Connection, campaign: int) -> int:
    """Remove the row of a campaign, unless another one sends it again, or it is the newest.

    What stays has no content, and no name. SQLite would give the newest number again.
    """
    connection.execute(sa.delete(resends).where(resends.c.campaign == campaign))
    every = campaigns.alias("every")
    return connection.execute(
        sa.delete(campaigns).where(
            campaigns.c.campaign == campaign,
            campaigns.c.campaign < sa.select(sa.func.max(every.c.campaign)).scalar_subquery(),
            ~sa.exists().where(resends.c.source == campaign),
        )
    ).rowcount
