"""How many keys of one address may be refused, in bounded memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable

#: As many addresses are remembered; the one that was refused longest ago goes first.
MOST_ADDRESSES = 10_000
#: Whoever has IPv6 has that many bits of addresses at least, and counts as one.
_IPV6_NETWORK = 64
_LONGEST_ADDRESS = 64


class Attempts:
    """Counts refused keys for each address; in any second not more than a limit.

    Args:
        per_second: the limit, at least 1.
        clock: a monotonic clock, seconds.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        #: What is left to an address, and when that was so.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def exhausted(self, address: str) -> bool:
        """Return whether nothing is left to an address now."""
        return self._now_left(address) < 1

    def take(self, address: str) -> bool:
        """Count a refused key; return whether that was within the limit."""
        left = self._now_left(address)
        allowed = left >= 1
        self._left[address] = (left - 1 if allowed else left, self._clock())
        self._left.move_to_end(address)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return allowed

    def _now_left(self, address: str) -> float:
        known = self._left.get(address)
        if known is None:
            return self._per_second
        left, since = known
        return min(left + (self._clock() - since) * self._per_second, self._per_second)


def address_of(peer: str) -> str:
    """Return the address that refused keys are counted for: no port, of IPv6 the network.

    Args:
        peer: as gRPC writes it, ``ipv4:127.0.0.1:4711`` or ``ipv6:[::1]:4711``.
    """
    kind, _, place = unquote(peer).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return peer[:_LONGEST_ADDRESS]
    host = place.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer[:_LONGEST_ADDRESS]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))
