"""The pages of what went wrong: each says what happened, what did not, and what to do."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import grpc
import structlog
from starlette.responses import HTMLResponse

from service_runtime.errors import ScopeMissingError, ServiceError, StoreUnavailableError
from status_service.dashboard import formats
from status_service.errors import CampaignNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    from service_runtime.caller import Caller
    from status_service.dashboard.visit import Board, Frame

log = structlog.get_logger()

#: What is said of a form without the token of its session.
TOO_OLD = "This form is too old. Nothing was changed."

#: As much is shown of an address, characters.
_LONGEST_PATH = 200


class Failure(NamedTuple):
    """What a page of a failure says.

    Attributes:
        status: the status of HTTP.
        title: what happened, in a sentence.
        more: what did not happen, and what to do.
        way: where to go from here, as (address, words).
        retry_seconds: when to try again; None: not said.
    """

    status: int
    title: str
    more: str
    way: tuple[str, str] = ("/", "Campaigns")
    retry_seconds: int | None = None


def of_error(error: ServiceError, *, caller: Caller | None, changing: bool, way: str) -> Failure:
    """Return what is said of an error of a use case.

    Args:
        error: the error.
        caller: who asked; None: not known.
        changing: a form was sent.
        way: where its form is; for GET, the page itself.
    """
    again = (way, "Back to the page" if changing else "Reload")
    match error:
        case CampaignNotFoundError():
            return not_found(error.metadata["campaign_id"])
        case ScopeMissingError():
            return _scope_missing(error.metadata["scope"], caller)
        case StoreUnavailableError():
            more = "Nothing that was acknowledged is lost."
            if changing:
                more += " It is not known to have happened. Look before you repeat it."
            title = "The status service runs, and its database does not answer."
            return Failure(503, title, more, again, retry_seconds=5)
    seconds = error.retry_after_seconds
    return Failure(
        _STATUS.get(error.code, 500),
        error.message,
        "Nothing was changed." if changing else "",
        again,
        None if seconds is None else max(1, round(seconds)),
    )


_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}


def not_found(campaign_id: str) -> Failure:
    """Return what is said of a campaign that is absent, or of another organisation."""
    return Failure(404, f"There is no campaign {formats.clean(campaign_id)} here.", "")


def no_page(path: str) -> Failure:
    """Return what is said of an address that no page has."""
    return Failure(404, "There is no page at this address.", formats.clean(path[:_LONGEST_PATH]))


def of_form(error: HTTPException, way: str) -> Failure:
    """Return what is said of a form that was not taken; ``way``: where it is."""
    return Failure(error.status_code, error.detail, "", (way, "Back to the page"))


def too_old(way: str) -> Failure:
    """Return what is said of a form without the token of its session."""
    return Failure(
        403,
        TOO_OLD,
        "Open it again and send that one.",
        (way, "Open the form again"),
    )


def from_elsewhere() -> Failure:
    """Return what is said of a form that another site sent, or a browser that does not say."""
    return Failure(
        403,
        "This form was not sent from a page of this site. Nothing was changed.",
        "Send it from the page itself. A proxy in front of Closeout has to pass Host on as it is.",
    )


def other_name() -> Failure:
    """Return what is said where nobody signs in and the address is not this machine's."""
    return Failure(
        421,
        "Before the first key, pages answer to names of this machine only.",
        "Open http://127.0.0.1 or http://localhost with the same port, or make a key with"
        " closeout keys create.",
    )


def defect(error: BaseException) -> Failure:
    """Log a defect; return what is said of it."""
    error_id = secrets.token_hex(6)
    log.error("page_failed", error_id=error_id, exc_info=error)
    return Failure(
        500,
        "Something is broken in Closeout.",
        f"Nothing was changed by this page; the log has more under error_id {error_id}.",
    )


def _scope_missing(scope: str, caller: Caller | None) -> Failure:
    text = f"This needs a key with the scope {scope}"
    if caller is None or not caller.key_name:
        return Failure(403, f"{text}.", "Sign in with another key.")
    has = ", ".join(sorted(caller.scopes)) or "none"
    return Failure(
        403,
        f"{text}; yours, {formats.clean(caller.key_name)}, has {has}.",
        "Nothing was changed. Sign out and in with another key.",
    )


def page_of(board: Board, failure: Failure, frame: Frame | None) -> Response:
    """Return the page of a failure; ``frame`` None: who asks is not known."""
    html = board.renderer.page("failure.html", failure=failure, frame=frame)
    headers = {}
    if failure.retry_seconds is not None:
        headers["retry-after"] = str(failure.retry_seconds)
    return HTMLResponse(html, failure.status, headers=headers)
