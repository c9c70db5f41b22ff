"""Events of campaigns, written in the transaction of what they are about."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from status_service.domain import State, fails_often
from status_service.recording.types import counters_of
from status_service.schema import alarms, events

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: Many messages of a campaign failed, or are in doubt.
FAILURE_RATE_HIGH: Final = "campaign.failure_rate_high"

_INSERT = sa.insert(events)


def write_event(
    connection: sa.Connection,
    campaign: sa.Row[Any],
    kind: str,
    *,
    now: datetime,
    transition: int | None = None,
    details: Mapping[str, str] | None = None,
) -> None:
    """Write that something happened to a campaign, which the caller holds locked.

    The lock makes the numbers of a campaign's events grow in the order of their commits.

    Args:
        connection: in the transaction of what happened.
        campaign: its row.
        kind: as in ``campaign.completed``: :mod:`status_service.domain`.
        now: the database's time.
        transition: the change of state that it is about, if it is one.
        details: what cannot be read from the campaign later.
    """
    connection.execute(
        _INSERT,
        {
            "organisation": campaign.organisation,
            "campaign": campaign.campaign,
            "transition": transition,
            "event_id": str(uuid.uuid4()),
            "kind": kind,
            "details": json.dumps(details or {}, ensure_ascii=False),
            "create_time": now,
        },
    )


def write_transition_events(
    connection: sa.Connection, campaign: sa.Row[Any], transition: int, *, now: datetime
) -> None:
    """Write the event of a change of state; with a completion also that many failed.

    A campaign that is over before the next pass looks at it would have no other one to
    say so.

    Args:
        connection: in the transaction of the change.
        campaign: its row afterwards.
        transition: the change.
        now: the database's time.
    """
    kind = f"campaign.{campaign.state.lower()}"
    write_event(connection, campaign, kind, now=now, transition=transition)
    if State(campaign.state) is not State.COMPLETED or not fails_often(counters_of(campaign)):
        return
    announced = sa.select(alarms.c.campaign).where(
        alarms.c.campaign == campaign.campaign, alarms.c.kind == FAILURE_RATE_HIGH
    )
    if connection.execute(announced).scalar_one_or_none() is None:
        write_event(connection, campaign, FAILURE_RATE_HIGH, now=now)
