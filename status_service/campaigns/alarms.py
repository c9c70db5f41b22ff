"""Alarms: a campaign that needs a person, or fails too often, is announced once.

The reconcile pass of every replica raises and clears them. A row of ``alarms`` says what
was announced, so that neither a restart nor another replica announces it again; each
change of it and its event are one transaction that holds the campaign locked.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database_time import read_clock
from service_runtime.errors import StoreBusyError
from status_service.campaigns import repair
from status_service.domain import fails_often
from status_service.errors import CampaignNotFoundError
from status_service.recording.ledger import lock_one
from status_service.recording.outbox import FAILURE_RATE_HIGH, write_event
from status_service.recording.types import CampaignKey, counters_of
from status_service.schema import alarms, campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta

    from service_runtime.database import Store
    from status_service.campaigns.open_campaigns import Noticed
    from status_service.campaigns.repair import Finding

#: A campaign needs a person.
STALLED: Final = "campaign.stalled"
#: It does not need one any more.
RECOVERED: Final = "campaign.recovered"

#: As many alarms one pass raises and clears; what is left is the next one's.
MOST_CHANGES = 1_000


class Alarms:
    """Announces what the reconcile pass finds.

    Args:
        store: the database.
        stall_threshold: how long without a new result is too long.
    """

    def __init__(self, store: Store, *, stall_threshold: timedelta) -> None:
        self._store = store
        self._stall_threshold = stall_threshold

    async def announce(self, noticed: Iterable[Noticed]) -> None:
        """Raise the alarms that ``noticed`` call for, and clear those that are over.

        A campaign that somebody holds locked is left to the next pass.

        Args:
            noticed: every open campaign that may call for one.

        Raises:
            StoreUnavailableError: the database does not answer; the next pass goes on.
        """
        new, over = due(noticed, await self._store.read(raised))
        for alarm in new:
            await self._try(partial(announce, alarm=alarm, stall_threshold=self._stall_threshold))
        for alarm in over:
            await self._try(partial(clear, alarm=alarm, stall_threshold=self._stall_threshold))

    async def _try(self, change: Callable[[sa.Connection], bool]) -> None:
        # A campaign that was taken out by hand has nothing to announce.
        with contextlib.suppress(StoreBusyError, CampaignNotFoundError):
            await self._store.write(change)


class Alarm(NamedTuple):
    """What was announced of a campaign."""

    key: CampaignKey
    kind: str


def due(noticed: Iterable[Noticed], raised: Iterable[Alarm]) -> tuple[list[Alarm], list[Alarm]]:
    """Return what is to be announced, and which alarms may be over.

    Args:
        noticed: every open campaign that may call for an alarm.
        raised: the alarms that there are.
    """
    known = set(raised)
    wanted: dict[Alarm, None] = {}  # in their order
    for one in noticed:
        if one.needs_attention:
            wanted[Alarm(one.key, STALLED)] = None
        if one.fails_often:
            wanted[Alarm(one.key, FAILURE_RATE_HIGH)] = None
    new = [alarm for alarm in wanted if alarm not in known]
    over = [alarm for alarm in known if alarm not in wanted]
    return new[:MOST_CHANGES], over[:MOST_CHANGES]


def _kinds(found: Finding) -> list[str]:
    kinds = [STALLED] if found.needs_attention else []
    return kinds + ([FAILURE_RATE_HIGH] if fails_often(counters_of(found.campaign)) else [])


def _hovers(alarm: Alarm, found: Finding) -> bool:
    """Return whether a rate is too near to its bound to be announced again soon."""
    return alarm.kind == FAILURE_RATE_HIGH and fails_often(counters_of(found.campaign), part=0.05)


def raised(connection: sa.Connection) -> list[Alarm]:
    """Return the alarms that there are, of all organisations."""
    rows = connection.execute(
        sa.select(campaigns.c.organisation, campaigns.c.campaign_id, alarms.c.kind).join_from(
            alarms, campaigns, alarms.c.campaign == campaigns.c.campaign
        )
    )
    return [Alarm(CampaignKey(row.organisation, row.campaign_id), row.kind) for row in rows]


def announce(connection: sa.Connection, alarm: Alarm, stall_threshold: timedelta) -> bool:
    """Raise an alarm and write its event; False: another instance did, or it is over.

    Whether there is reason for it is judged again under the lock: what this instance found
    may have been mended, and announced as such by another one, since it looked.

    Raises:
        CampaignNotFoundError: there is no such campaign any more.
    """
    campaign = lock_one(connection, alarm.key)
    (found,) = repair.judge(connection, [campaign], stall_threshold, read_clock(connection))
    if not found.is_open or alarm.kind not in _kinds(found):
        return False
    written = connection.execute(
        insert(alarms)
        .values(campaign=campaign.campaign, kind=alarm.kind, create_time=found.now)
        .on_conflict_do_nothing()
        .returning(alarms.c.campaign)
    ).scalar_one_or_none()
    if written is None:
        return False
    details = {"explanation": found.explanation, "action": found.action}
    if found.after is not None:
        details["diagnosis"] = found.after.value
    write_event(connection, campaign, alarm.kind, now=found.now, details=details)
    return True


def clear(connection: sa.Connection, alarm: Alarm, stall_threshold: timedelta) -> bool:
    """Clear an alarm that is over, and announce it if people wait for that.

    Whether it is over is judged again under the lock, by the row alone: another instance
    may have raised it since this one looked.

    Raises:
        CampaignNotFoundError: there is no such campaign any more.
    """
    campaign = lock_one(connection, alarm.key)
    (found,) = repair.judge(connection, [campaign], stall_threshold, read_clock(connection))
    if found.is_open and (alarm.kind in _kinds(found) or _hovers(alarm, found)):
        return False
    gone = connection.execute(
        sa.delete(alarms)
        .where(alarms.c.campaign == campaign.campaign, alarms.c.kind == alarm.kind)
        .returning(alarms.c.campaign)
    ).scalar_one_or_none()
    if gone is None or alarm.kind != STALLED:
        return False
    details = {"explanation": found.explanation, "action": found.action}
    write_event(connection, campaign, RECOVERED, now=found.now, details=details)
    return True
