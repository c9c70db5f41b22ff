"""What can be done with a campaign from its page, by state and by scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service_runtime.caller import Scope
from status_service.domain import OPEN, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from status_service.dashboard.visit import Visit


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done, or a line in its place.

    Attributes:
        label: what the button says.
        path: where it leads.
        at_once: it is done at once, by a form; else a page asks first.
        style: the classes of its button.
        lacking: why it is not offered; empty: it is.
    """

    label: str
    path: str
    at_once: bool = False
    style: str = ""
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class Actions:
    """What can be done with a campaign.

    Attributes:
        actions: in their order.
        download: where its results can be downloaded; empty: it has none, or they are not kept.
    """

    actions: Sequence[Action]
    download: str


def of(visit: Visit, campaign: Any) -> Actions:
    """Return what the visitor can do with a campaign.

    Args:
        visit: of a page of this campaign.
        campaign: its row.
    """
    state = State(campaign.state)
    place = f"/campaigns/{campaign.campaign_id}"
    actions = []
    if state is State.SENDING:
        pause = Action("Pause", f"{place}/pause", at_once=True)
        actions.append(_if_allowed(visit, pause, Scope.WRITE, "Pausing"))
    if state is State.PAUSED:
        resume = Action("Resume", f"{place}/resume", at_once=True, style="primary")
        actions.append(_if_allowed(visit, resume, Scope.WRITE, "Resuming"))
    if state in OPEN:
        complete = Action("Mark complete…", f"{place}/complete")
        actions.append(_if_allowed(visit, complete, Scope.REPAIR, "Marking complete"))
    if not state.is_terminal:
        cancel = Action("Cancel campaign…", f"{place}/cancel", style="danger")
        actions.append(_if_allowed(visit, cancel, Scope.WRITE, "Cancelling"))
    if state.is_terminal and left_behind(campaign):
        resend = Action("Resend…", f"{place}/resend")
        actions.append(_if_allowed(visit, resend, Scope.WRITE, "Resending"))
    has_results = campaign.total is not None and campaign.results_remove_time is None
    download = f"{place}/results.csv" if has_results else ""
    return Actions(actions, download)


def left_behind(campaign: Any) -> int:
    """Return how many messages of a campaign that has ended were not sent, or are in doubt."""
    return (campaign.total or 0) - int(campaign.sent)


def _if_allowed(visit: Visit, action: Action, scope: Scope, doing: str) -> Action:
    if visit.may(scope):
        return action
    lacking = f"{doing} needs a key with the scope {scope}."
    return Action(action.label, action.path, lacking=lacking)
