"""The check before every page: session, caller, scope; and for a form, where it comes from.

What is not in the table of pages is not there. A page gets no request that was not
checked, and every answer has the headers of :mod:`.security`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse
from starlette.routing import Route

from service_runtime.access import OPEN, require
from service_runtime.caller import DEFAULT_ORGANISATION, Caller, Scope
from service_runtime.errors import ServiceError, StoreUnavailableError
from service_runtime.http_access import peer_of
from status_service.dashboard import failures, security
from status_service.dashboard.cookies import cookie_of, drop_cookie
from status_service.dashboard.forms import fields_of, is_read
from status_service.dashboard.visit import Page, Visit, see_other

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from service_runtime.http_app import LostPage
    from status_service.dashboard.sessions import Session
    from status_service.dashboard.visit import Board, Frame

#: How an audit trail names who came by a page.
_VIA = "via dashboard"


class _SignedOut(Exception):  # noqa: N818 - it is no error
    """Nobody is signed in."""


class _RefusedError(Exception):
    """The request is not answered with its page."""

    def __init__(self, failure: failures.Failure) -> None:
        super().__init__(failure.title)
        self.failure = failure


def guarded(board: Board, pages: Iterable[Page]) -> list[Route]:
    """Return the routes of pages behind the check."""
    table = list(pages)
    forms = {page.path: page for page in table if page.method == "GET"}
    return [
        Route(
            page.path,
            partial(_answer, board, page, forms.get(page.form_at)),
            methods=[page.method],
        )
        for page in table
    ]


def lost_page(board: Board) -> LostPage:
    """Return what answers a browser at an address that no page has."""

    async def show(visit: Visit) -> Response:
        frame = visit.frame() if visit.caller.organisation else None
        failure = failures.no_page(visit.request.scope["path"])
        return failures.page_of(board, failure, frame)

    return partial(_answer, board, Page("", "GET", OPEN, show), None)


async def _answer(board: Board, page: Page, form: Page | None, request: Request) -> Response:
    """Answer a request; whatever goes wrong becomes a page.

    Args:
        board: what pages work with.
        page: the page.
        form: where its form is; None: it has none.
        request: what the browser sent.
    """
    response = security.protect(await _page_for(board, page, form, request))
    if page.method == "POST" and not is_read(request):
        # Nobody waits for the rest of a form that nobody reads.
        response.headers["connection"] = "close"
    return response


async def _page_for(board: Board, page: Page, form: Page | None, request: Request) -> Response:
    changing = page.method == "POST"
    way = page.form_at.format(**request.path_params) if changing else _address(request)
    caller: Caller | None = None
    frame: Frame | None = None
    try:
        await _refuse(board, request, changing=changing)
        session, caller = await _who(board, request, page.scope, board.sessions.find)
        visit = Visit(request, board, caller, session, await fields_of(request) if changing else {})
        frame = visit.frame() if caller.organisation else None
        if _allow(page, visit):
            return await page.handler(visit)
        return await _again(form, visit, way)
    except _SignedOut:
        if page.if_signed_out is not None:
            return page.if_signed_out()
        return _to_sign_in(request, way, changing=changing)
    except _RefusedError as error:
        failure = error.failure
    except HTTPException as error:
        failure = failures.of_form(error, way)
    except ServiceError as error:
        failure = failures.of_error(error, caller=caller, changing=changing, way=way)
    except Exception as error:  # noqa: BLE001 - logged, and shown as a defect
        failure = failures.defect(error)
    return failures.page_of(board, failure, frame)


def _allow(page: Page, visit: Visit) -> bool:
    """Return whether a form has the token of its session; a page that has none needs none.

    Raises:
        ScopeMissingError: the caller may not see the page.
        _RefusedError: the campaign's id is none that a campaign can have.
    """
    campaign_id = visit.request.path_params.get("campaign_id", "")
    if not (campaign_id.isascii() and (not campaign_id or campaign_id.isprintable())):
        raise _RefusedError(failures.not_found(campaign_id))
    if page.scope == OPEN:
        return True
    require(visit.caller, Scope(page.scope))
    return page.method != "POST" or security.is_token(visit.secret, visit.form.get("token", ""))


async def _again(form: Page | None, visit: Visit, way: str) -> Response:
    """Return a form once more, with a token that holds; nothing was done with what was sent.

    Raises:
        _RefusedError: there is no such form for this caller.
    """
    if form is None or not visit.may(Scope(form.scope)):
        raise _RefusedError(failures.too_old(way))
    response = await form.handler(replace(visit, refused=failures.TOO_OLD))
    response.status_code = 403
    return response


async def _refuse(board: Board, request: Request, *, changing: bool) -> None:
    """Check where a request comes from, whoever sends it.

    Raises:
        _RefusedError: from another site, or under a name that is not this machine's.
    """
    if changing and not security.is_from_here(request):
        raise _RefusedError(failures.from_elsewhere())
    if (
        board.only_this_machine
        and not security.names_this_machine(request.headers.get("host", ""))
        and not await board.keys.keys_exist()
    ):
        raise _RefusedError(failures.other_name())


async def is_still_admitted(visit: Visit, scope: Scope) -> bool:
    """Return whether a page that lasts may go on: its session and its key may have ended.

    Nobody is turned away because the database does not answer.
    """
    try:
        sessions = visit.board.sessions
        _, caller = await _who(visit.board, visit.request, scope, sessions.find_soon)
        require(caller, scope)
    except StoreUnavailableError:
        return True
    except (_SignedOut, ServiceError):
        return False
    return caller.organisation == visit.caller.organisation


async def _who(
    board: Board,
    request: Request,
    scope: Scope | str,
    find: Callable[[str], Awaitable[Session | None]],
) -> tuple[Session | None, Caller]:
    """Return the session and the caller of a request.

    Args:
        board: what pages work with.
        request: what the browser sent.
        scope: what the page needs.
        find: finds the session of a cookie.

    Raises:
        _SignedOut: the page needs a session, and there is none.
        ServiceError: who it is can't be known now.
    """
    peer = peer_of(request)
    if not await board.keys.keys_exist():
        return None, Caller(DEFAULT_ORGANISATION, actor=f"{peer} {_VIA}")
    if session := await find(cookie_of(request)):
        try:
            caller = await board.keys.caller_of_key(session.key_id)
        except ServiceError as error:
            if error.code.name != "UNAUTHENTICATED":
                raise
        else:
            return session, _of_page(caller)
    if scope != OPEN:
        raise _SignedOut
    return None, Caller("", actor=f"{peer} {_VIA}", scopes=frozenset())


def _of_page(caller: Caller) -> Caller:
    return Caller(
        caller.organisation,
        actor=f"{caller.actor} {_VIA}",
        scopes=caller.scopes,
        key_id=caller.key_id,
        key_name=caller.key_name,
    )


def _address(request: Request) -> str:
    # Not of request.url, which is made of the header Host as well.
    query = request.scope["query_string"].decode("latin-1")
    return quote(request.scope["path"]) + (f"?{query}" if query else "")


def _to_sign_in(request: Request, way: str, *, changing: bool) -> Response:
    """Lead to the sign-in, and from there back.

    A link of another site arrives without the cookie, and a redirect would not bring it
    back: a page that loads its own address again does.
    """
    if not changing and security.is_from_another_site(request):
        address = _address(request)
        return HTMLResponse(_AGAIN.format(address=_escaped(address)))
    lost = "&lost=1" if changing else ""
    response = see_other(f"/sign-in?next={quote(way, safe='/')}{lost}")
    if changing:
        drop_cookie(response, request)
    return response


_AGAIN = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Closeout</title>'
    '<meta http-equiv="refresh" content="0"><p><a href="{address}">Continue</a></p></html>\n'
)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
