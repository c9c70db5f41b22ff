"""Since when campaigns wait for their provider, over restarts of the sender."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from sender_service.domain import Phase
from sender_service.store.schema import campaigns, meta
from service_runtime.database_time import read_clock

#: When a provider that fails was tried last: the name of the row in ``meta``.
_TRIED = "provider_tried_time"
#: A process tries a provider that fails at least this often.
_LONGEST_WAIT = timedelta(minutes=6)


def note_outage(connection: sa.Connection, campaign: int, *, since: datetime | None) -> None:
    """Store since when a campaign waits for its provider; None: it does not."""
    connection.execute(
        sa.update(campaigns).where(campaigns.c.campaign == campaign).values(unreachable_time=since)
    )


def note_tried(connection: sa.Connection) -> None:
    """Store that a provider was tried now, and failed."""
    now = read_clock(connection).isoformat()
    updated = connection.execute(sa.update(meta).where(meta.c.name == _TRIED).values(value=now))
    if updated.rowcount == 0:
        connection.execute(sa.insert(meta).values(name=_TRIED, value=now))


def resume_outages(connection: sa.Connection) -> None:
    """Go on counting outages at the start of a process.

    A restart changes nothing. The time in which no process ran, where that is longer than
    the wait between two tries, counts for no deadline.
    """
    tried = connection.execute(
        sa.select(meta.c.value).where(meta.c.name == _TRIED)
    ).scalar_one_or_none()
    pause = None if tried is None else read_clock(connection) - datetime.fromisoformat(tried)
    if pause is not None and pause <= _LONGEST_WAIT:
        return
    waiting = connection.execute(
        sa.select(campaigns.c.campaign, campaigns.c.unreachable_time).where(
            campaigns.c.phase != Phase.FINISHED.value, campaigns.c.unreachable_time.is_not(None)
        )
    ).all()
    for campaign, since in waiting:
        note_outage(connection, campaign, since=None if pause is None else since + pause)
