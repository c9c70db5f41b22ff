"""Convert between the stream of the status service and the sender's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from closeout.status.v1 import status_pb2
from sender_service.domain import MAX_DETAIL, State, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from sender_service.domain import Problem

#: Problems of a frame, and the longest texts of one, characters: with more the status
#: service would refuse the frame.
_MOST_PROBLEMS = 8
_MAX_SUMMARY, _MAX_SETTING, _MAX_PROVIDER = 300, 200, 300


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


def problems(found: Sequence[Problem]) -> status_pb2.CampaignProblems:
    """Return what holds a campaign up as it is reported; texts that are too long are cut."""
    reported = status_pb2.CampaignProblems()
    for problem in found[:_MOST_PROBLEMS]:
        message = reported.problems.add(
            kind=status_pb2.Problem.Kind.Value(problem.kind),
            summary=clean(problem.summary, _MAX_SUMMARY),
            detail=clean(problem.detail, MAX_DETAIL),
            setting=clean(problem.setting, _MAX_SETTING),
            provider=clean(problem.provider, _MAX_PROVIDER),
            needs_attention=problem.needs_attention,
        )
        if problem.since_time is not None:
            message.since_time.FromDatetime(problem.since_time)
        if problem.deadline_time is not None:
            message.deadline_time.FromDatetime(problem.deadline_time)
    return reported
