"""The log lines of a campaign that changed its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from status_service.domain import State

if TYPE_CHECKING:
    from status_service.domain import Cause
    from status_service.recording.types import Change

log = structlog.get_logger()


def log_state_change(
    change: Change, *, before: State | None, cause: Cause, actor: str, reason: str = ""
) -> None:
    """Log the old and the new state; of a campaign that is COMPLETED also its counts.

    Args:
        change: the campaign afterwards.
        before: its state before; None if it was registered.
        cause: what caused the change.
        actor: who caused it.
        reason: why, if anybody said.
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
    )
