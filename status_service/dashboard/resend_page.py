"""Resend: to whom, how many they are, and the command that does it.

The sender makes a resend, and acts for whoever shows it a key. A session of these pages
keeps no key, so the page prepares the command, which counts the people again, shows the
first message and asks before anything goes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from service_runtime.caller import Scope
from service_runtime.validation import Validation
from status_service.campaigns.wording import messages, number
from status_service.dashboard.actions import left_behind
from status_service.dashboard.visit import Page, Visit
from status_service.domain import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

#: Whom it can go to, with what has to be known first.
_NOTES = {
    "unknown": "Some may get it twice.",
    "failed": "What was refused for good is refused again.",
    "skipped": "Left out on purpose; a suppression still holds.",
    "unsent": "No result of theirs is stored here.",
}
#: Room for what is added to an id.
_LONGEST_SOURCE = 118


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


class Review(NamedTuple):
    """A resend, ready to be done.

    Attributes:
        sentence: to how many it would go.
        command: what does it.
    """

    sentence: str
    command: str


def counts_of(campaign: Any) -> dict[str, int]:
    """Return how many messages of a campaign can be sent again, by what the command calls them."""
    counts = {name: int(getattr(campaign, name)) for name in ("unknown", "failed", "skipped")}
    counts["unsent"] = left_behind(campaign) - sum(counts.values())
    return counts


def choices(counts: dict[str, int], chosen: Sequence[str]) -> list[Choice]:
    """Return what can be chosen: those of whom there are any."""
    return [
        Choice(name, f"{number(counts[name])} {name}", note, name in chosen)
        for name, note in _NOTES.items()
        if counts[name]
    ]


def review(source: str, counts: dict[str, int], chosen: Sequence[str], target: str) -> Review:
    """Return what a resend would do.

    Args:
        source: the id of the campaign.
        counts: how many there are of each.
        chosen: to whom.
        target: the id of the new campaign; checked.
    """
    total = sum(counts[name] for name in chosen)
    of_these = ", ".join(f"{number(counts[name])} {name}" for name in chosen)
    twice = " Some of them may get it twice." if "unknown" in chosen else ""
    return Review(
        f"{messages(total)} would go out again: {of_these}.{twice}",
        f"closeout resend {source} --to {','.join(chosen)} --campaign-id {target}",
    )


async def show(visit: Visit) -> Response:
    """Ask to whom, or show what the answer comes to."""
    query = visit.request.query_params
    campaign = await visit.board.views.get(visit.caller, visit.campaign_id)
    counts = counts_of(campaign)
    chosen = [name for name in _NOTES if name in query.getlist("to") and counts[name]]
    source = campaign.campaign_id
    target = query.get("id", f"{source[:_LONGEST_SOURCE]}-resend-1")
    is_asked = "id" in query
    check = Validation()
    check.campaign_id(target)
    is_possible = State(campaign.state).is_terminal and bool(left_behind(campaign))
    is_ready = is_possible and is_asked and bool(chosen) and not check.failed
    return visit.render(
        "resend.html",
        now=await visit.board.clock(),
        campaign=campaign,
        name=campaign.display_name or source,
        not_possible="" if is_possible else _not_possible(campaign),
        choices=choices(counts, chosen),
        target=target,
        review=review(source, counts, chosen, target) if is_ready else None,
        nobody="Tick at least one of these." if is_asked and not chosen else "",
        wrong_id=_WRONG_ID if check.failed else "",
    )


_WRONG_ID = "Take 1 to 128 letters, digits, dots, dashes and underscores; a letter or digit first."


def _not_possible(campaign: Any) -> str:
    if not State(campaign.state).is_terminal:
        return "This campaign has not ended. A resend is for what an ended one left behind."
    return "Every message of this campaign was sent. Nobody is left to resend it to."


PAGES = (Page("/campaigns/{campaign_id}/resend", "GET", Scope.WRITE, show),)
