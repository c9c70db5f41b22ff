"""The log lines of a completed campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from status_service.domain import Cause
    from status_service.recording.types import Change

log = structlog.get_logger()


def log_completed(change: Change, *, cause: Cause) -> None:
    """Write the two lines operators look for when a campaign is done."""
    counters = change.counters
    bound = log.bind(campaign_id=change.key.campaign_id, organisation=change.key.organisation)
    bound.info(
        "campaign_fully_processed",
        total=change.total,
        sent=counters.sent,
        failed=counters.failed,
        skipped=counters.skipped,
        unknown=counters.unknown,
    )
    bound.info("campaign_state_changed", state="COMPLETED", cause=cause)
