"""Checks the problems of one frame or call, and converts them to what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from status_service.domain import Problem
from status_service.recording import problems

if TYPE_CHECKING:
    from closeout.status.v1 import status_pb2
    from service_runtime.validation import Validation

#: Problems of a campaign, at most.
MOST_PROBLEMS = 8
#: The texts of a problem, and how long each may be, characters.
LONGEST = {"summary": 300, "detail": 500, "setting": 200, "provider": 300}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def checked_problems(
    check: Validation,
    field: str,
    request: status_pb2.ReportResultsRequest | status_pb2.CampaignResults,
) -> str | None:
    """Return the problems of a request as they are stored; None if it has none to say.

    Args:
        check: notes what is wrong.
        field: the path of the problems.
        request: what may have them.
    """
    if not request.HasField("problems"):
        return None
    given = request.problems.problems
    if len(given) > MOST_PROBLEMS:
        check.refuse(f"{field}.problems", f"{len(given):,} given; at most {MOST_PROBLEMS}")
        return None
    return problems.to_json(
        _checked(check, f"{field}.problems[{index}]", problem)
        for index, problem in enumerate(given)
    )


def _checked(check: Validation, place: str, problem: status_pb2.Problem) -> Problem:
    if problem.kind <= 0:  # a kind that only a later version knows is kept
        check.refuse(f"{place}.kind", "required")
    summary, detail, setting, provider = (
        check.text(f"{place}.{name}", getattr(problem, name), longest=longest)
        for name, longest in LONGEST.items()
    )
    since_time, deadline_time = (
        _microseconds(check.timestamp(f"{place}.{name}", getattr(problem, name)))
        if problem.HasField(name)
        else None
        for name in ("since_time", "deadline_time")
    )
    return Problem(
        kind=problem.kind,
        summary=summary,
        detail=detail,
        setting=setting,
        provider=provider,
        since_time=since_time,
        needs_attention=problem.needs_attention,
        deadline_time=deadline_time,
    )


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
