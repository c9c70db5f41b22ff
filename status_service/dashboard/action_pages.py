"""Pause, resume and cancel: what is done by a form, and the page that asks first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from service_runtime.errors import InvalidRequestError, ServiceError
from status_service.campaigns.wording import messages
from status_service.dashboard import campaign_page, changes
from status_service.dashboard.visit import Page, Visit, see_other
from status_service.domain import State
from status_service.errors import CampaignBusyError, TransitionNotAllowedError

if TYPE_CHECKING:
    from starlette.responses import Response

#: What a refused change is answered with: the page of the campaign and the message.
_CONFLICT, _BUSY = 409, 503


async def back(visit: Visit) -> Response:
    """Lead from the address of a form to the page that has it."""
    return see_other(f"/campaigns/{visit.campaign_id}")


async def _change(visit: Visit, *, target: State, done: str) -> Response:
    """Bring a campaign to ``target``, and go back."""
    change = changes.change_of(visit)
    try:
        await visit.board.service.change_state(
            visit.caller, change.campaign_id, target, reason=change.reason
        )
    except (TransitionNotAllowedError, CampaignBusyError) as error:
        return await refused(visit, error)
    if visit.form.get("from") == "problems":
        return see_other(f"/problems?done={done}")
    return see_other(f"/campaigns/{change.campaign_id}?done={done}")


async def refused(visit: Visit, error: ServiceError) -> Response:
    """Return the page of the campaign, with the message of the service on top."""
    status = _BUSY if isinstance(error, CampaignBusyError) else _CONFLICT
    return await campaign_page.page_of(visit, refused=error.message, status=status)


async def ask_cancel(visit: Visit) -> Response:
    """Say what cancelling does, and ask."""
    return await _ask_cancel(visit)


async def _ask_cancel(
    visit: Visit, *, reason: str = "", wrong: str = "", status: int = 200
) -> Response:
    campaign = await visit.board.views.get(visit.caller, visit.campaign_id)
    return visit.render(
        "cancel.html",
        now=await visit.board.clock(),
        status=status,
        campaign=campaign,
        name=campaign.display_name or campaign.campaign_id,
        has_ended=State(campaign.state).is_terminal,
        state=State(campaign.state),
        effect=cancel_effect(
            campaign.total,
            None
            if campaign.total is None
            else campaign.total
            - (campaign.sent + campaign.failed + campaign.skipped + campaign.unknown),
        ),
        reason=reason,
        wrong=wrong,
    )


def cancel_effect(total: int | None, pending: int | None) -> str:
    """Return what cancelling does with the messages of a campaign.

    Args:
        total: how many it has; None: it is not sealed.
        pending: how many of them have no result; None: likewise.
    """
    ends = "This ends it for good."
    if total is None or pending is None:
        return f"{ends} It has not started, so nothing was sent, and nothing will be."
    if not pending:
        return f"{ends} Every message has a result, and keeps it."
    not_sent = f"{messages(pending)} {'is' if pending == 1 else 'are'} not sent and"
    return (
        f"{ends} {not_sent} {'ends' if pending == 1 else 'end'} as SKIPPED; what is in the"
        " provider's hands still gets its result."
    )


async def cancel(visit: Visit) -> Response:
    """Cancel a campaign."""
    try:
        return await _change(visit, target=State.CANCELLED, done="cancelled")
    except InvalidRequestError as error:
        wrong = changes.at_reason(error)
        return await _ask_cancel(
            visit, reason=visit.form.get("reason", ""), wrong=wrong, status=400
        )


_AT = "/campaigns/{campaign_id}"
PAGES = (
    Page(
        f"{_AT}/pause",
        "POST",
        Scope.WRITE,
        partial(_change, target=State.PAUSED, done="paused"),
        form_at=_AT,
    ),
    Page(
        f"{_AT}/resume",
        "POST",
        Scope.WRITE,
        partial(_change, target=State.SENDING, done="resumed"),
        form_at=_AT,
    ),
    # Where a refused form was answered, a reload asks for the address by GET.
    Page(f"{_AT}/pause", "GET", Scope.READ, back),
    Page(f"{_AT}/resume", "GET", Scope.READ, back),
    Page(f"{_AT}/cancel", "GET", Scope.WRITE, ask_cancel),
    Page(f"{_AT}/cancel", "POST", Scope.WRITE, cancel, form_at=f"{_AT}/cancel"),
)
