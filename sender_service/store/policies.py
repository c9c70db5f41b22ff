"""From the row of a campaign to the rules it is sent by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sender_service.domain import Guarantee, Policy, RetryPolicy

if TYPE_CHECKING:
    import sqlalchemy as sa


def policy_of(row: sa.Row[Any], *, deadline_seconds: float) -> Policy:
    """Return what a stored campaign does about messages that no answer has ended.

    Args:
        row: the campaign.
        deadline_seconds: the sender's setting, for a campaign without its own.
    """
    if row.retry_deadline_ms is not None:
        deadline_seconds = row.retry_deadline_ms / 1000
    return Policy(
        guarantee=Guarantee(row.guarantee),
        retry=RetryPolicy(
            initial_backoff_seconds=row.initial_backoff_ms / 1000,
            max_backoff_seconds=row.max_backoff_ms / 1000,
            max_attempts=row.max_attempts,
            deadline_seconds=deadline_seconds,
        ),
    )
