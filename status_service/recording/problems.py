"""What holds the sender of a campaign up, as that sender reports it.

Problems are kept with the campaign as JSON that is the same for the same problems, so a
report that says nothing new is known without reading it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from status_service.domain import Problem, State
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from status_service.recording.merge import Accepted

#: Nothing holds the sender up.
NO_PROBLEMS = "[]"


def to_json(problems: Iterable[Problem]) -> str:
    """Return problems as they are stored, those that need a person first."""
    ordered = sorted(problems, key=lambda problem: not problem.needs_attention)
    # A text has as many bytes as in a message, or more: pages count them. Escapes would make
    # them three times as many, in rows that every look at open campaigns holds.
    return json.dumps([problem._asdict() for problem in ordered], ensure_ascii=False)


def from_json(stored: str) -> Sequence[Problem]:
    """Return the problems that are stored, in their order."""
    if stored == NO_PROBLEMS:
        return ()
    return [Problem(**problem) for problem in json.loads(stored)]


def news(campaign: sa.Row[Any], accepted: Accepted) -> str | None:
    """Return what the last of the frames says that has problems; None if that is no news.

    Nothing about a campaign in a terminal state is. Neither is what a stream brought that
    has ended: its frame was never acknowledged, and its sender reports all problems on the
    next stream, perhaps to another instance and before this one had its turn.
    """
    last = None
    for frame, _ in accepted:
        is_over = frame.origin is not None and frame.origin.is_over
        if frame.problems is not None and not is_over:
            last = frame.problems
    if last is None or last == campaign.problems or State(campaign.state).is_terminal:
        return None
    return last


def store(connection: sa.Connection, campaign: sa.Row[Any], problems: str) -> sa.Row[Any]:
    """Replace the problems of a campaign that is locked; return its row afterwards."""
    return connection.execute(_STORE, {"number": campaign.campaign, "reported": problems}).one()


_STORE = (
    sa.update(campaigns)
    .where(campaigns.c.campaign == sa.bindparam("number", type_=sa.BigInteger))
    .values(
        problems=sa.bindparam("reported", type_=sa.Text),
        revision=campaigns.c.revision + 1,
        problems_revision=campaigns.c.revision + 1,
        revision_before_problems=sa.case(
            (
                campaigns.c.problems_revision == campaigns.c.revision,
                campaigns.c.revision_before_problems,
            ),
            else_=campaigns.c.revision,
        ),
    )
    .returning(campaigns)
)
