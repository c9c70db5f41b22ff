"""What holds a campaign up, from the status service and from its sender."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.errors import ClientError
from closeout.status.v1 import status_pb2 as pb
from closeout_cli.failures import sender_trouble
from closeout_cli.options import sender_of
from closeout_cli.words import ago, clock, enum_name, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from closeout.sender.v1 import sender_pb2

#: How long the sender is asked for what it has to add, seconds.
_TIMEOUT_SECONDS = 3.0


async def delivery_of(
    campaign_id: str, address: str
) -> tuple[sender_pb2.GetDeliveryResponse | None, str]:
    """Return the sender's answer, or why there is none, which is no failure."""
    async with sender_of(address) as sender:
        try:
            answer = await sender.get_delivery(
                campaign_id=campaign_id, timeout_seconds=_TIMEOUT_SECONDS
            )
        except ClientError as error:
            return None, sender_trouble(error, address)
    return answer, ""


def all_problems(
    campaign: pb.Campaign, delivery: sender_pb2.GetDeliveryResponse | None
) -> list[pb.Problem]:
    """Return the problems that were reported, and those that only the sender knows.

    A sender that can't reach the status service can report that to nobody.
    """
    known = {(problem.kind, problem.provider) for problem in campaign.problems}
    others = delivery.problems if delivery is not None else ()
    added = [problem for problem in others if (problem.kind, problem.provider) not in known]
    return sorted([*campaign.problems, *added], key=lambda problem: not problem.needs_attention)


def what_to_do(diagnosis: pb.CampaignDiagnosis | None, problems: Sequence[pb.Problem]) -> str:
    """Return what to do about a campaign; a problem that only the sender knows comes first.

    Args:
        diagnosis: what the status service found; None: it found nothing.
        problems: all that is known, also from the sender.
    """
    urgent = next((problem for problem in problems if problem.needs_attention), None)
    if urgent is None or (diagnosis is not None and diagnosis.needs_attention):
        return diagnosis.action if diagnosis is not None else ""
    place = urgent.setting or "this"
    return f"Correct {place} at the sender, and start it again: {urgent.summary}."


def problem_facts(problems: Iterable[pb.Problem]) -> Iterator[tuple[str, str]]:
    """Yield names and values of problems, for people."""
    for problem in problems:
        kind = enum_name(pb.Problem.Kind, problem.kind)
        since = f", since {ago(problem.since_time)}" if problem.HasField("since_time") else ""
        attention = ", needs attention" if problem.needs_attention else ""
        yield "problem", f"{problem.summary} ({kind}{since}{attention})"
        yield "  detail", problem.detail
        yield "  setting", problem.setting
        if problem.HasField("deadline_time"):
            time = problem.deadline_time
            yield "  deadline", f"no message fails before {clock(time)} ({until(time)})"
