"""Where events may go: an address that is not of a private network, unless that is allowed.

Whoever may subscribe could otherwise make this service call what only its machine
reaches: metadata of a cloud, a database, another service. So a name is resolved once for
each connection (:mod:`.resolver`), every address of it is checked, and the connection goes
to one of these.
"""

from __future__ import annotations

import errno
import ipaddress
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The longest URL that is taken, characters.
LONGEST_URL = 2_000


_ALLOWED_BY = "the setting [status] webhooks_allow_private"


class DestinationRefusedError(OSError):
    """The address is one that events must not go to."""


def fault(url: str, *, allow_private: bool) -> str:
    """Return why nobody can subscribe with ``url``; empty if one can.

    A name is not resolved here: what it resolves to may change until it is used.
    """
    if len(url) > LONGEST_URL or not (url.isascii() and url.isprintable()):
        return f"use at most {LONGEST_URL} printable ASCII characters"
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    faults = (
        (not parsed.host, "expected a URL, as in https://example.com/closeout"),
        (
            parsed.scheme != "https" and not (allow_private and parsed.scheme == "http"),
            f"use https://; http:// needs {_ALLOWED_BY}",
        ),
        (bool(parsed.user or parsed.password), "leave out user and password: events are signed"),
        (bool(parsed.fragment), "leave out what follows the #"),
        (
            not allow_private and _literal_is_private(parsed.host or ""),
            f"the address is of a private network; that needs {_ALLOWED_BY}",
        ),
    )
    return next((text for found, text in faults if found), "")


def _literal_is_private(host: str) -> bool:
    try:
        return is_private(host)
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def is_private(address: str) -> bool:
    """Return whether an IP address is none of the public internet.

    Raises:
        ValueError: it is no IP address.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or _nat64(found)
        if inner is not None:
            found = inner
    return not found.is_global or found.is_multicast or found.is_reserved


def _nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside one of ``64:ff9b::/96``."""
    if address in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def check_addresses(host: str, addresses: Iterable[str], *, allow_private: bool) -> None:
    """Check the addresses of a name, or an address that stands for itself.

    Raises:
        DestinationRefusedError: one of them is private.
    """
    if allow_private:
        return
    for address in addresses:
        if is_private(address):
            raise DestinationRefusedError(
                errno.EACCES,
                f"{host} is {address}, an address of a private network; that needs {_ALLOWED_BY}",
            )
