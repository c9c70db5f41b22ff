"""Resend: to whom, what the sender says of it, and the form that does it.

Where no sender is configured, the page ends with the command that does it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from closeout.sender.v1 import sender_pb2 as pb
from service_runtime.caller import Scope
from service_runtime.validation import Validation
from status_service.dashboard import changes, resend_form
from status_service.dashboard.resend_form import NOTES, Command, Form, Review, counts_of
from status_service.dashboard.sender_link import SenderRefusedError
from status_service.dashboard.visit import Page, Visit, see_other

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

_WRONG_ID = "Take 1 to 128 letters, digits, dots, dashes and underscores; a letter or digit first."
_TAKEN = "There is a campaign with this id already. Take another one."
_NO_SENDER = "These pages can't send it: no address of a sender is configured."
_NOT_THERE = (
    "The sender that these pages ask does not have this campaign: ask the one that sent it."
)
_CHANGED = "It changed while you read. Nothing was sent; here is how it stands now."
_REPEATS = {
    "only-new": pb.StartCampaignRequest.ONLY_NEW,
    "again": pb.StartCampaignRequest.AGAIN,
}
_CONFLICT, _UNAVAILABLE = 409, 503


@dataclass(frozen=True)
class _Asked:
    """What a form asks for.

    Attributes:
        campaign: the row of the campaign to send again.
        chosen: to whom.
        target: the id of the new campaign; empty: none is named.
        request_id: of the form; made with the page.
        wrong_id: what is the matter with the id.
    """

    campaign: Any
    chosen: Sequence[str]
    target: str
    request_id: str
    wrong_id: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it can be done as it is asked for."""
        return bool(self.chosen and self.target and not self.wrong_id)

    @property
    def request(self) -> pb.ResendCampaignRequest:
        """What the sender is asked for."""
        source = self.campaign.campaign_id
        return resend_form.request(source, self.chosen, self.target, self.request_id)


async def _asked(visit: Visit, names: Sequence[str], target: str | None, request_id: str) -> _Asked:
    campaign = await visit.board.views.get(visit.caller, visit.campaign_id)
    counts = counts_of(campaign)
    chosen = [name for name in NOTES if name in names and counts[name] > 0]
    if target is None:
        return _Asked(campaign, chosen, "", request_id)
    check = Validation()
    check.campaign_id(target)
    return _Asked(campaign, chosen, target, request_id, _WRONG_ID if check.failed else "")


async def show(visit: Visit) -> Response:
    """Ask to whom, or show what the answer comes to."""
    query = visit.request.query_params
    asked = await _asked(visit, query.getlist("to"), query.get("id"), str(uuid.uuid4()))
    if resend_form.not_possible(asked.campaign) or not asked.is_whole:
        return await _page(visit, asked)
    if not visit.board.sender.is_configured:
        return await _page(visit, asked, command=_command(asked, _NO_SENDER))
    if await resend_form.is_taken(visit, asked.target):
        return await _page(visit, replace(asked, wrong_id=_TAKEN))
    return await _reviewed(visit, asked)


async def _reviewed(visit: Visit, asked: _Asked) -> Response:
    """Return the page with what the sender says that the resend would do."""
    try:
        counted = await visit.board.sender.review(visit.caller, asked.request)
    except SenderRefusedError as error:
        return await _refused(visit, asked, error)
    found = resend_form.review(counted, asked.chosen, asked.request_id)
    return await _page(visit, asked, review=found)


async def send(visit: Visit) -> Response:
    """Resend as the page said, or show why not."""
    form, link = visit.form, visit.board.sender
    request_id = form.get("request_id", "")
    asked = await _asked(visit, form.get("to", "").split(","), form.get("id", ""), request_id)
    is_whole = asked.is_whole and _is_uuid(request_id)
    if resend_form.not_possible(asked.campaign) or not is_whole or not link.is_configured:
        return await _page(visit, asked, refused=_CHANGED, status=_CONFLICT)
    try:
        counted = await link.review(visit.caller, asked.request)
    except SenderRefusedError as error:
        return await _refused(visit, asked, error)
    found = resend_form.review(counted, asked.chosen, request_id)
    if not found.people or changes.whole_number(form.get("people", "")) != found.people:
        return await _page(visit, asked, review=found, refused=_CHANGED, status=_CONFLICT)
    repeat = _REPEATS.get(form.get("repeat", ""), pb.StartCampaignRequest.REFUSE)
    try:
        await link.resend(visit.caller, asked.request, repeat)
    except SenderRefusedError as error:
        return await _refused(visit, asked, error, found)
    return see_other(f"/campaigns/{asked.target}?done=resent")


async def _refused(
    visit: Visit, asked: _Asked, error: SenderRefusedError, review: Review | None = None
) -> Response:
    """Return the page with what the sender said on top."""
    command = None
    if error.reason == "CAMPAIGN_NOT_FOUND" and review is None:
        command = _command(asked, _NOT_THERE)
    text = error.text
    if review is not None and error.reason == "AUDIENCE_REPEATED":
        review = review._replace(is_repeated=True, has_others=error.has_others)
        text = error.text.partition("; nothing is started")[0] + ". Nothing was sent."
    return await _page(
        visit,
        asked,
        review=review,
        command=command,
        refused=text,
        status=_UNAVAILABLE if error.is_silent else _CONFLICT,
    )


async def _page(
    visit: Visit,
    asked: _Asked,
    *,
    review: Review | None = None,
    command: Command | None = None,
    refused: str = "",
    status: int = 200,
) -> Response:
    campaign, source = asked.campaign, asked.campaign.campaign_id
    was_sent = bool(asked.target or asked.wrong_id)
    form = Form(
        resend_form.choices(counts_of(campaign), asked.chosen),
        asked.target or await resend_form.proposed(visit, source),
        nobody="Tick at least one of these." if was_sent and not asked.chosen else "",
        wrong_id=asked.wrong_id,
    )
    return visit.render(
        "resend.html",
        now=await visit.board.clock(),
        status=status,
        campaign=campaign,
        name=campaign.display_name or source,
        not_possible=resend_form.not_possible(campaign),
        form=form,
        review=review,
        command=command,
        refused=refused,
    )


def _command(asked: _Asked, why: str) -> Command:
    counts = counts_of(asked.campaign)
    source = asked.campaign.campaign_id
    return resend_form.command(source, counts, asked.chosen, asked.target, why)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


_AT = "/campaigns/{campaign_id}/resend"
PAGES = (
    Page(_AT, "GET", Scope.WRITE, show),
    Page(_AT, "POST", Scope.WRITE, send, form_at=_AT),
)
