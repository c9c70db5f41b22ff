"""What is written of a change of state: the audit trail, the outbox, and the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import structlog

# SQLite has the same clause and compiles this form of it; PostgreSQL does not compile
# SQLite's.
from sqlalchemy.dialects.postgresql import insert

from status_service.domain import State
from status_service.recording.outbox import write_transition_events
from status_service.recording.samples import note_end
from status_service.schema import CHANGED_CHANNEL, transitions

if TYPE_CHECKING:
    from datetime import datetime

    import sqlalchemy as sa

    from status_service.domain import Cause
    from status_service.recording.types import Change

log = structlog.get_logger()

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
    on_behalf_of: str = "",
    forced: int = 0,
) -> None:
    """Write that ``campaign`` came from state ``before``, the event of that, and a last sample.

    The caller holds the campaign locked. A completion is written once: where the
    audit trail has one already, as after a change by hand in the database, neither
    is written again.
    """
    if connection.dialect.name == "postgresql":
        _announce(connection, campaign)
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
            "on_behalf_of": on_behalf_of,
            "forced": forced,
        },
    ).scalar_one_or_none()
    if written is not None:
        write_transition_events(connection, campaign, written, now=now)
        if State(campaign.state).is_terminal:
            note_end(connection, campaign.campaign)


def _announce(connection: sa.Connection, campaign: sa.Row[Any]) -> None:
    """Say on commit that this change is one of state: other instances look at it at once."""
    payload = [campaign.organisation, campaign.campaign_id, campaign.revision, campaign.state]
    connection.exec_driver_sql(
        "SELECT pg_notify(%s, %s)", (CHANGED_CHANNEL, json.dumps(payload))
    ).one()


def log_state_change(
    change: Change,
    *,
    before: State | None,
    cause: Cause,
    actor: str,
    reason: str = "",
    on_behalf_of: str = "",
) -> None:
    """Log the old and the new state; of a campaign that is COMPLETED also its counts.

    Args:
        change: the campaign afterwards.
        before: its state before; None if it was registered.
        cause: what caused the change.
        actor: who caused it.
        reason: why, if anybody said.
        on_behalf_of: for whom the actor acted, by its own claim.
    """
    bound = log.bind(campaign_id=change.key.campaign_id, organisation=change.key.organisation)
    if change.state is State.COMPLETED:
        counters = change.counters
        bound.info(
            "campaign_fully_processed",
            total=change.total,
            sent=counters.sent,
            failed=counters.failed,
            skipped=counters.skipped,
            unknown=counters.unknown,
        )
    bound.info(
        "campaign_state_changed",
        state_before=before,
        state=change.state,
        cause=cause,
        actor=actor,
        reason=reason,
        **claim_of(on_behalf_of),
    )


def claim_of(on_behalf_of: str) -> dict[str, str]:
    """Return for whom an actor acted as a field of a log line; nothing if it did not say."""
    return {"on_behalf_of": on_behalf_of} if on_behalf_of else {}
