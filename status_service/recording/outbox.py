"""Events of campaigns, written in the transaction of what they are about."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import sqlalchemy as sa

from status_service.schema import events

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_INSERT = sa.insert(events)


def write_event(
    connection: sa.Connection,
    campaign: int,
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
        campaign: its number in this store.
        kind: as in ``campaign.completed``: :mod:`status_service.domain`.
        now: the database's time.
        transition: the change of state that it is about, if it is one.
        details: what cannot be read from the campaign later.
    """
    connection.execute(
        _INSERT,
        {
            "campaign": campaign,
            "transition": transition,
            "event_id": str(uuid.uuid4()),
            "kind": kind,
            "details": json.dumps(details or {}, ensure_ascii=False),
            "create_time": now,
        },
    )
