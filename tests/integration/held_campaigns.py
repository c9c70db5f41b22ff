"""What holds a campaign up, as its sender says it."""

from __future__ import annotations

from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.sender_pair import Pair


async def problem_of(both: Pair, campaign_id: str) -> status_pb2.Problem | None:
    """Return what holds a campaign up, if something does."""
    delivery = await both.sender.get_delivery(campaign_id=campaign_id)
    return delivery.problems[0] if delivery.problems else None


async def held_up(both: Pair, campaign_id: str, kind: int | None = None) -> status_pb2.Problem:
    """Wait for a problem of a campaign."""

    async def look() -> status_pb2.Problem | None:
        problem = await problem_of(both, campaign_id)
        return problem if problem is not None and kind in {None, problem.kind} else None

    problem: status_pb2.Problem = await support.eventually(look)
    return problem
