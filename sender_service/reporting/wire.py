"""Between the stream of the status service and the sender's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from closeout.status.v1 import status_pb2
from sender_service.domain import State

if TYPE_CHECKING:
    import sqlalchemy as sa


def state_of(told: status_pb2.Campaign.State.ValueType) -> State:
    """Return the state of a campaign as the status service told it."""
    return State(status_pb2.Campaign.State.Name(told))


def result(entry: sa.Row[Any]) -> status_pb2.Result:
    """Return an entry of the journal as it is reported."""
    reported = status_pb2.Result(
        sequence=entry.sequence,
        outcome=entry.outcome,
        attempt=entry.attempt,
        code=entry.code,
        detail=entry.detail,
        provider_message_id=entry.provider_message_id,
    )
    reported.finish_time.FromMicroseconds(entry.finish_time)
    return reported
