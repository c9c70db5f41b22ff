"""Problems: a scan that changes nothing, the repair, and what the last repair did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_runtime.caller import Scope
from status_service.dashboard import last_repair
from status_service.dashboard.visit import Page, Visit, see_other

if TYPE_CHECKING:
    from starlette.responses import Response

#: What is said after a form that leads back here.
_DONE = {"resumed": "Resumed. The sender goes on by itself."}


async def show(visit: Visit) -> Response:
    """Show what a scan of the last seconds found."""
    query = visit.request.query_params
    scan = await visit.board.scans.scan(visit.caller, again="again" in query)
    now = await visit.board.clock()
    return visit.render(
        "problems.html",
        now=now,
        scan=scan,
        last=last_repair.from_text(await visit.kept()),
        is_after_fix=query.get("done") == "fixed",
        done=_DONE.get(query.get("done", ""), ""),
        may_fix=visit.may(Scope.REPAIR),
        may_resume=visit.may(Scope.WRITE),
    )


async def fix(visit: Visit) -> Response:
    """Repair what can be repaired, keep what was done, and show it."""
    board = visit.board
    findings = await board.service.repair(visit.caller)
    board.scans.forget(visit.caller.organisation)
    repair = last_repair.last_repair(findings, await board.clock())
    await visit.keep(last_repair.to_text(repair))
    return see_other("/problems?done=fixed")


async def back(_visit: Visit) -> Response:
    """Lead from the address of the form to the page that has it."""
    return see_other("/problems")


PAGES = (
    Page("/problems", "GET", Scope.READ, show),
    Page("/problems/fix", "POST", Scope.REPAIR, fix, form_at="/problems"),
    Page("/problems/fix", "GET", Scope.READ, back),
)
