"""What holds a campaign up, as its row keeps it: a JSON list with one object for each problem."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sender_service.domain import Problem, ProblemKind

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What is stored of a campaign that nothing holds up.
NO_PROBLEMS: Final = "[]"


def problems_to_json(problems: Iterable[Problem]) -> str:
    """Return problems as they are stored; times are texts in ISO 8601."""
    return json.dumps(
        [
            {
                **dataclasses.asdict(problem),
                "since_time": problem.since_time.isoformat() if problem.since_time else None,
            }
            for problem in problems
        ]
    )


def problems_from_json(stored: str) -> tuple[Problem, ...]:
    """Return the problems that :func:`problems_to_json` wrote."""
    return tuple(_problem(fields) for fields in json.loads(stored))


def summary_of(stored: str) -> str:
    """Return what stored problems say, on one line."""
    return "; ".join(problem.summary for problem in problems_from_json(stored))


def _problem(fields: dict[str, str | bool | None]) -> Problem:
    since = fields["since_time"]
    return Problem(
        kind=ProblemKind(str(fields["kind"])),
        summary=str(fields["summary"]),
        detail=str(fields["detail"]),
        setting=str(fields["setting"]),
        provider=str(fields["provider"]),
        since_time=datetime.fromisoformat(since) if isinstance(since, str) else None,
        needs_attention=bool(fields["needs_attention"]),
    )
