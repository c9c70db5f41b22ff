"""The audit trail and the outbox: one transition and one event for each change of state."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

# SQLite has the same clause and compiles this form of it; PostgreSQL does not compile
# SQLite's.
from sqlalchemy.dialects.postgresql import insert

from status_service.schema import events, transitions

if TYPE_CHECKING:
    from datetime import datetime

    from status_service.domain import Cause

_ONCE = insert(transitions).on_conflict_do_nothing().returning(transitions.c.transition)


def write_transition(
    connection: sa.Connection,
    before: str | None,
    campaign: sa.Row[Any],
    *,
    now: datetime,
    cause: Cause,
    actor: str,
    reason: str,
) -> None:
    """Write that ``campaign`` came from state ``before``, and the event of that.

    The caller holds the campaign locked. A completion is written once: where the
    audit trail has one already, as after a change by hand in the database, neither
    is written again.
    """
    written = connection.execute(
        _ONCE,
        {
            "campaign": campaign.campaign,
            "from_state": before,
            "to_state": campaign.state,
            "cause": cause.value,
            "actor": actor,
            "reason": reason,
            "create_time": now,
        },
    ).scalar_one_or_none()
    if written is not None:
        connection.execute(
            sa.insert(events),
            {
                "transition": written,
                "event_id": str(uuid.uuid4()),
                "kind": f"campaign.{campaign.state.lower()}",
                "create_time": now,
            },
        )
