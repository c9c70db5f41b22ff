"""Signing in with a key, and out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import HTMLResponse

from service_runtime.access import OPEN, Credentials
from service_runtime.errors import (
    KeyExpiredError,
    KeyMalformedError,
    KeyRevokedError,
    ServiceError,
    TooManyAttemptsError,
)
from service_runtime.http_access import peer_of
from status_service.dashboard.cookies import cookie_of, drop_cookie, set_cookie
from status_service.dashboard.security import path_of_this_site
from status_service.dashboard.visit import Page, Visit, see_other

if TYPE_CHECKING:
    from starlette.responses import Response

#: A longer text is no key, and is not looked at.
_LONGEST_KEY = 200


class Refused(NamedTuple):
    """Why nobody was signed in.

    Attributes:
        text: what the page says.
        status: the status of HTTP.
        seconds: when to try again; 0: at any time.
    """

    text: str
    status: int = 401
    seconds: int = 0


async def show(visit: Visit) -> Response:
    """Show the field for a key; whoever is signed in goes on."""
    then = path_of_this_site(visit.request.query_params.get("next", "/"))
    if visit.session or not await visit.board.keys.keys_exist():
        return see_other(then)
    notice = ""
    if visit.request.query_params.get("lost"):
        notice = (
            "Your session has ended, and nothing was changed. Sign in to go on; what you typed"
            " is lost."
        )
    elif cookie_of(visit.request):
        notice = "Your session has ended. Sign in to go on."
    return _page(visit, then, notice=notice)


async def sign_in(visit: Visit) -> Response:
    """Begin a session with the key that was sent, and go to where it was to lead."""
    then = path_of_this_site(visit.form.get("next", "/"))
    key = visit.form.get("key", "").strip()
    board = visit.board
    if not await board.keys.keys_exist():
        return see_other(then)
    peer = peer_of(visit.request)
    try:
        if not key.isascii() or not key or len(key) > _LONGEST_KEY:
            raise KeyMalformedError("this is not a whole key")
        caller = await board.access.authenticate(Credentials(f"Bearer {key}", "", "", peer))
    except ServiceError as error:
        refused = _refused(error)
        if refused is None:
            raise
        return _page(visit, then, refused=refused)
    await board.sessions.end(cookie_of(visit.request))
    response = see_other(then)
    set_cookie(response, visit.request, await board.sessions.begin(caller))
    return response


def _refused(error: ServiceError) -> Refused | None:
    """Return what is said of a key that is not taken; None: it is another failure."""
    match error:
        case TooManyAttemptsError():
            seconds = max(1, math.ceil(error.retry_after_seconds or 1))
            text = f"Too many tries from this address. Try again in {seconds} s."
            return Refused(text, 429, seconds)
        case KeyMalformedError():
            return Refused("This is not a whole key. Copy it again.")
        case KeyExpiredError() | KeyRevokedError():
            text = f"{error.message[:1].upper()}{error.message[1:]}"
            return Refused(text if text.endswith(".") else f"{text}.")
    if error.code.name == "UNAUTHENTICATED":
        return Refused("This key is not valid.")
    return None


def _page(visit: Visit, then: str, *, notice: str = "", refused: Refused | None = None) -> Response:
    html = visit.board.renderer.page("sign_in.html", next=then, notice=notice, refused=refused)
    headers = {"retry-after": str(refused.seconds)} if refused and refused.seconds else {}
    return HTMLResponse(html, refused.status if refused else 200, headers=headers)


async def sign_out(visit: Visit) -> Response:
    """End the session here and in the database."""
    await visit.board.sessions.end(cookie_of(visit.request))
    response = see_other("/sign-in")
    drop_cookie(response, visit.request)
    return response


async def back(_visit: Visit) -> Response:
    """Lead from the address of the form to the pages."""
    return see_other("/")


PAGES = (
    Page("/sign-in", "GET", OPEN, show),
    Page("/sign-in", "POST", OPEN, sign_in, form_at="/sign-in"),
    # Whoever has no session is signed out already, so that it is open; another site can't.
    Page("/sign-out", "POST", OPEN, sign_out, form_at="/sign-in"),
    Page("/sign-out", "GET", OPEN, back),
)
