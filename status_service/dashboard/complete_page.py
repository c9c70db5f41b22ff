"""Mark complete: a page that has tried it already, and the form that does it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from service_runtime.errors import InvalidRequestError, ServiceError
from status_service.dashboard import action_pages, changes, formats
from status_service.dashboard.completion import Verdict, completion, what_changed
from status_service.dashboard.visit import Page, Visit, see_other
from status_service.domain import State
from status_service.errors import (
    CampaignBusyError,
    CampaignNotFullyProcessedError,
    CampaignNotSendingError,
    RevisionMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from status_service.campaigns.repair import Finding
    from status_service.campaigns.types import Changed
    from status_service.dashboard.completion import Completion

#: So long a form waits for what it asked for, seconds; then its page says that it goes on.
_PATIENCE_SECONDS = 10.0
#: What the panel is headed with.
_TRIED = {
    Verdict.POSSIBLE: "Dry run: possible",
    Verdict.REFUSED: "Dry run: refused",
    Verdict.IN_PROGRESS: "Dry run: refused",
    Verdict.WRONG_STATE: "Dry run: refused",
    Verdict.COMPLETED: "Nothing to do",
}


async def show(visit: Visit) -> Response:
    """Try it without doing it, and show the answer."""
    return await _page(visit)


async def _dry_run(visit: Visit) -> Changed | ServiceError:
    try:
        return await visit.board.service.mark_complete(
            visit.caller, visit.campaign_id, reason="", force=False, dry_run=True, revision=0
        )
    except (CampaignNotFullyProcessedError, CampaignNotSendingError) as refusal:
        return refusal


async def _page(
    visit: Visit,
    *,
    wrong_reason: str = "",
    is_unticked: bool = False,
    has_changed: bool = False,
    status: int = 200,
) -> Response:
    """Return the page as the campaign stands now.

    Args:
        visit: of the page, or of its form.
        wrong_reason: what is the matter with the reason that was sent.
        is_unticked: the form came without its tick.
        has_changed: the form was of a page that does not hold any more.
        status: the status of HTTP.
    """
    board = visit.board
    page = await board.views.campaign_page(visit.caller, visit.campaign_id)
    found, ranges, more = page.finding, page.missing_ranges, page.more_missing_ranges
    # After it: a result that comes between makes the form's revision too old, and no more.
    answer = await _dry_run(visit)
    shown = completion(answer, found.standing, stall_threshold=board.stall_threshold)
    if has_changed and _is_done(visit, found):
        return _done(visit, force=_forces(visit))
    return visit.render(
        "complete.html",
        now=found.now,
        status=status,
        campaign=found.campaign,
        name=found.campaign.display_name or found.campaign.campaign_id,
        state=str(State(found.campaign.state)).capitalize(),
        verdict=shown.verdict,
        tried=_TRIED[shown.verdict],
        it=shown,
        action=found.action,
        missing=missing_words(ranges),
        all_ranges=all_ranges(len(ranges), more=more),
        reason=visit.form.get("reason", ""),
        wrong_reason=wrong_reason,
        is_unticked=is_unticked,
        changed=_changed(visit, shown) if has_changed else "",
    )


def _changed(visit: Visit, shown: Completion) -> str:
    return what_changed(changes.whole_number(visit.form.get("pending", "")), shown)


def missing_words(ranges: Sequence[tuple[int, int]]) -> str:
    """Return which messages have no result, without a period; empty: all have one."""
    if not ranges:
        return ""
    first = formats.number_range(*ranges[0])
    if len(ranges) > 1:
        return f"The first messages without a result are {first}"
    if ranges[0][0] == ranges[0][1]:
        return f"The only message without a result is number {first}"
    return f"The messages without a result are {first}"


def all_ranges(shown: int, *, more: bool) -> str:
    """Return the words of the link to all ranges; their number where it is known."""
    if more:
        return "all ranges"
    return f"all {shown} ranges" if shown > 1 else ""


def _forces(visit: Visit) -> bool:
    return visit.form.get("force") == "1"


def _is_done(visit: Visit, found: Finding) -> bool:
    """Return whether this visitor has completed it: a second click of the same form."""
    is_complete = State(found.campaign.state) is State.COMPLETED
    return is_complete and found.entry is not None and found.entry.actor == visit.caller.actor


def _done(visit: Visit, *, force: bool) -> Response:
    return see_other(f"/campaigns/{visit.campaign_id}?done={'forced' if force else 'completed'}")


async def complete(visit: Visit) -> Response:
    """Complete a campaign as its page said, or show what changed since.

    To record millions of messages takes minutes, which no browser or proxy waits for. The
    service goes on behind the answer, and the page of the campaign shows how far it is.
    """
    if objection := await _objection(visit):
        return objection
    force = _forces(visit)
    change = changes.change_of(visit, force=force, revision=_revision(visit))
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await visit.board.service.mark_complete(
                visit.caller,
                change.campaign_id,
                reason=change.reason,
                force=force,
                dry_run=False,
                revision=change.revision,
            )
    except TimeoutError:
        return see_other(f"/campaigns/{visit.campaign_id}?done=completing")
    except (RevisionMismatchError, CampaignNotFullyProcessedError):
        return await _page(visit, has_changed=True, status=409)
    except (CampaignNotSendingError, CampaignBusyError) as error:
        return await action_pages.refused(visit, error)
    return _done(visit, force=force)


def _revision(visit: Visit) -> int:
    """Return the revision of the page that was read; 0: it is not said."""
    return changes.whole_number(visit.form.get("revision", "")) or 0


async def _objection(visit: Visit) -> Response | None:
    """Return the page again if the form can't be done as it was sent."""
    force = _forces(visit)
    if not _revision(visit):  # for the service that would be any
        return await _page(visit, has_changed=True, status=409)
    try:
        changes.change_of(visit, force=force)
    except InvalidRequestError as error:
        return await _page(visit, wrong_reason=changes.at_reason(error), status=400)
    if force and not visit.form.get("confirm"):
        return await _page(visit, is_unticked=True, status=400)
    if force and not await _is_confirmed(visit):
        return await _page(visit, has_changed=True, status=409)
    return None


async def _is_confirmed(visit: Visit) -> bool:
    """Return whether as many messages are missing as were confirmed.

    What comes between this and the change is found by the revision.
    """
    answer = await _dry_run(visit)
    missing = answer.metadata.get("pending") if isinstance(answer, ServiceError) else None
    return missing is not None and visit.form.get("confirm") == missing


_AT = "/campaigns/{campaign_id}/complete"
PAGES = (
    Page(_AT, "GET", Scope.REPAIR, show),
    Page(_AT, "POST", Scope.REPAIR, complete, form_at=_AT),
)
