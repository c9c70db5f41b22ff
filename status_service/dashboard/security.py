"""What keeps other sites out of the pages: headers, and where a request comes from."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

#: On every answer. No inline script, style, handler or picture works under this policy.
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def protect(response: Response) -> Response:
    """Add the headers of security; what says nothing of a cache is not kept by any."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("cache-control", "no-store")
    return response


def is_from_here(request: Request) -> bool:
    """Return whether a form was sent from a page of this site.

    A browser says so in ``Origin``, in ``Sec-Fetch-Site``, or in both; where neither is,
    nobody knows, and the answer is no.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if origin is None and site is None:
        return False
    if site not in {None, "same-origin"}:
        return False
    return origin is None or _place(origin) == request.headers.get("host", "").lower()


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_from_another_site(request: Request) -> bool:
    """Return whether a link of another site, a mail or an alert led here."""
    return request.headers.get("sec-fetch-site") == "cross-site"


def names_this_machine(host: str) -> bool:
    """Return whether a ``Host`` header names loopback.

    Another name can be made to lead to this machine by whoever owns that name, and its
    pages would then be of the same origin.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def form_token(secret: bytes) -> str:
    """Return what a form has to send back, made of what only its reader's session has."""
    return hmac.new(secret, b"closeout form", hashlib.sha256).hexdigest()


def is_token(secret: bytes, sent: str) -> bool:
    """Return whether a form has the token of this session."""
    return hmac.compare_digest(form_token(secret).encode(), sent.encode())


def path_of_this_site(path: str) -> str:
    """Return where to go after sign-in: ``path`` if it is one of this site, else ``/``."""
    is_ours = path.startswith("/") and not path.startswith("//")
    return path if is_ours and "\\" not in path and path.isprintable() else "/"
