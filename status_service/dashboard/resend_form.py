"""To whom a campaign can be sent again: the first form, and what its review says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from service_runtime.caller import Scope
from status_service.campaigns.wording import messages, number
from status_service.dashboard import formats
from status_service.dashboard.actions import left_behind
from status_service.domain import State
from status_service.errors import CampaignNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from status_service.dashboard.visit import Visit

#: Whom it can go to, with what has to be known first.
NOTES = {
    "unknown": "Some may get it twice.",
    "failed": "What was refused for good is refused again.",
    "skipped": "Left out on purpose; a suppression still holds.",
    "unsent": "No result of theirs is stored here.",
}
_OUTCOMES = {
    "unknown": status_pb2.Result.UNKNOWN,
    "failed": status_pb2.Result.FAILED,
    "skipped": status_pb2.Result.SKIPPED,
}
#: Room for what is added to an id, and how many ids are tried.
_LONGEST_SOURCE, _MOST_TRIED = 115, 20


class Choice(NamedTuple):
    """Some of the people of a campaign.

    Attributes:
        name: what the command calls them.
        label: how many they are.
        note: what has to be known first.
        is_chosen: whether the box is ticked.
    """

    name: str
    label: str
    note: str
    is_chosen: bool


class Form(NamedTuple):
    """The first form.

    Attributes:
        choices: whom it can go to.
        target: the id of the new campaign.
        nobody: what is said where no box was ticked.
        wrong_id: what is the matter with the id.
        way_back: whether it has a link back to the campaign.
    """

    choices: Sequence[Choice]
    target: str
    nobody: str = ""
    wrong_id: str = ""
    way_back: bool = True


class Command(NamedTuple):
    """A resend that the page can't do.

    Attributes:
        sentence: to how many it would go.
        why: why the page does not do it.
        text: the command that does it.
    """

    sentence: str
    why: str
    text: str


class Review(NamedTuple):
    """A resend that was tried without doing it.

    Attributes:
        sentence: to how many it would go.
        people: how many they are.
        preview: the first message.
        button: what the button says.
        to: to whom, as the form sends it back.
        request_id: makes a form that is sent twice one campaign.
        is_repeated: some of them got the same lately, and it was asked what to do.
        has_others: likewise, and others did not.
    """

    sentence: str
    people: int
    preview: str
    button: str
    to: str
    request_id: str
    is_repeated: bool = False
    has_others: bool = True


def counts_of(campaign: Any) -> dict[str, int]:
    """Return how many messages of a campaign can be sent again, by what the command calls them."""
    counts = {name: int(getattr(campaign, name)) for name in ("unknown", "failed", "skipped")}
    counts["unsent"] = left_behind(campaign) - sum(counts.values())
    return counts


def choices(counts: dict[str, int], chosen: Sequence[str]) -> list[Choice]:
    """Return what can be chosen: those of whom there are any."""
    return [
        Choice(name, f"{number(counts[name])} {name}", note, name in chosen)
        for name, note in NOTES.items()
        if counts[name]
    ]


def command(
    source: str, counts: dict[str, int], chosen: Sequence[str], target: str, why: str
) -> Command:
    """Return the command that does a resend.

    Args:
        source: the id of the campaign.
        counts: how many there are of each.
        chosen: to whom.
        target: the id of the new campaign; checked.
        why: why the page does not do it, in a sentence.
    """
    total = sum(counts[name] for name in chosen)
    of_these = ", ".join(f"{number(counts[name])} {name}" for name in chosen)
    return Command(
        f"{messages(total)} would go out again: {of_these}.{_twice(chosen)}",
        why,
        f"closeout resend {source} --to {','.join(chosen)} --campaign-id {target}",
    )


def request(
    source: str, chosen: Sequence[str], target: str, request_id: str
) -> pb.ResendCampaignRequest:
    """Return what the sender is asked for."""
    return pb.ResendCampaignRequest(
        source_campaign_id=source,
        outcomes=[_OUTCOMES[name] for name in chosen if name in _OUTCOMES],
        include_unsent="unsent" in chosen,
        campaign_id=target,
        request_id=request_id,
    )


def review(counted: pb.ResendCampaignResponse, chosen: Sequence[str], request_id: str) -> Review:
    """Return what the page says of a resend that was tried without doing it."""
    total = max(0, counted.total)
    found = [(name, int(getattr(counted, name))) for name in chosen]
    of_these = ", ".join(f"{number(count)} {name}" for name, count in found if count)
    people = formats.counted(total, "person", "people")
    gets = formats.plural(total, "gets", "get")
    return Review(
        f"{people} {gets} it again: {of_these}.{_twice([name for name, count in found if count])}"
        if total
        else "Nobody has such a message at the sender. Tick others.",
        total,
        "\n".join(map(formats.clean, counted.preview.splitlines())),
        f"Resend to {people}",
        ",".join(chosen),
        request_id,
    )


def _twice(chosen: Sequence[str]) -> str:
    return " Some of them may get it twice." if "unknown" in chosen else ""


def not_possible(campaign: Any) -> str:
    """Return why a campaign can't be sent again; empty: it can."""
    if not State(campaign.state).is_terminal:
        return "This campaign has not ended. A resend is for what an ended one left behind."
    if not left_behind(campaign):
        return "Every message of this campaign was sent. Nobody is left to resend it to."
    return ""


async def beside(visit: Visit, campaign: Any) -> Form | None:
    """Return the form for the page of an ended campaign; None: it has none."""
    can = visit.board.sender.is_configured and visit.may(Scope.WRITE)
    if not can or not_possible(campaign):
        return None
    found = choices(counts_of(campaign), ())
    return Form(found, await proposed(visit, campaign.campaign_id), way_back=False)


async def proposed(visit: Visit, source: str) -> str:
    """Return an id for the next resend of a campaign that no campaign has."""
    beginning = f"{source[:_LONGEST_SOURCE]}-resend-"
    for count in range(1, _MOST_TRIED):
        if not await is_taken(visit, f"{beginning}{count}"):
            return f"{beginning}{count}"
    return f"{beginning}{_MOST_TRIED}"


async def is_taken(visit: Visit, campaign_id: str) -> bool:
    """Return whether there is a campaign with an id."""
    try:
        await visit.board.views.get(visit.caller, campaign_id)
    except CampaignNotFoundError:
        return False
    return True
