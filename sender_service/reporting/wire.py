"""Convert between the stream of the status service and the sender's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from closeout.status.v1 import status_pb2
from sender_service.domain import State

if TYPE_CHECKING:
    import sqlalchemy as sa


def state_of(state: status_pb2.Campaign.State.ValueType) -> State:
    """Return the state of a campaign from its number in the contract."""
    return State(status_pb2.Campaign.State.Name(state))


def result(entry: sa.Row[Any]) -> status_pb2.Result:
    """Return an entry of the outbox as it is reported."""
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
