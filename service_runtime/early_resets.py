"""Connections that reset calls before they are made (CVE-2023-44487), and what is done to them.

gRPC hands a call over when its head has arrived, also one that was reset since. Each such
call costs the event loop as much as one that is answered, and while they come faster than
that, gRPC refuses most calls of everybody. So a connection that does this is not heard any
more. To close it would not help: its client would open the next one at once. Only where others
call over the same connection, through a proxy, it is closed: they are to know at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from service_runtime.sampled_log import SampledLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: So many of one connection within a second are an attack. Who gives calls up has sent their
#: requests, since a client sends a request together with its head.
MOST_RESETS: Final = 100
_SECOND: Final = 1.0
#: The open descriptors of this process, where the system shows them.
_DESCRIPTORS = (Path("/proc/self/fd"), Path("/dev/fd"))
#: Of linux/filter.h and asm-generic/socket.h.
_RETURN_CONSTANT, _ATTACH_FILTER = 0x06, 26


class EarlyResets:
    """Counts resets of calls of which nothing but the head has arrived.

    Args:
        silence: ends what a connection can do, by its address as gRPC writes it.
        cut: ends a connection.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self,
        silence: Callable[[str], None] | None = None,
        cut: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._silence = silence or silence_connection
        self._cut = cut or cut_connection
        self._clock = clock
        self._begin = clock()
        self._counts: dict[str, int] = {}
        self._log = SampledLog("calls_reset")

    def note(self, peer: str, is_used: Callable[[str], bool]) -> None:
        """Count one of a connection.

        Args:
            peer: its address as gRPC writes it.
            is_used: returns whether calls go on over the connection.
        """
        now = self._clock()
        if now - self._begin >= _SECOND:
            self._begin = now
            self._counts.clear()
        count = self._counts[peer] = self._counts.get(peer, 0) + 1
        if count == MOST_RESETS:
            self._log.add(address=peer, resets=count)
            end = self._cut if is_used(peer) else self._silence
            end(peer)


def silence_connection(peer: str) -> None:
    """Take nothing more of a connection, so that keepalive ends it; where that can't be, cut it.

    gRPC has no call for that, so the connection is found among the sockets of this process.

    Args:
        peer: the address of its client, as in ``ipv4:127.0.0.1:4711``.
    """
    for connection in _connections(peer):
        if not _drops_all(connection):
            _cut(connection)


def cut_connection(peer: str) -> None:
    """End a connection, by the address of its client as above."""
    for connection in _connections(peer):
        _cut(connection)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has gone meanwhile
        connection.shutdown(socket.SHUT_RDWR)


def _drops_all(connection: socket.socket) -> bool:
    """Let the system drop what comes; return whether it does."""
    drop = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN_CONSTANT, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop))
    try:
        connection.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    except OSError:  # another system, or one that forbids it
        return False
    return True


def _connections(peer: str) -> Iterator[socket.socket]:
    """Yield the sockets of this process that are connected with an address."""
    place = next((place for place in _DESCRIPTORS if place.is_dir()), None)
    for number in [] if place is None else [int(each.name) for each in place.iterdir()]:
        try:
            # A copy stays the same socket, whatever becomes of the number meanwhile.
            copy = os.dup(number)
        except OSError:
            continue
        if not stat.S_ISSOCK(os.fstat(copy).st_mode):
            os.close(copy)
            continue
        with socket.socket(fileno=copy) as connection:
            if _peer_of(connection) == unquote(peer):
                yield connection


def _peer_of(connection: socket.socket) -> str:
    """Return the address of the other end as gRPC writes it; empty: it has none."""
    try:
        address = connection.getpeername()
    except OSError:
        return ""
    if connection.family == socket.AF_INET:
        return f"ipv4:{address[0]}:{address[1]}"
    if connection.family == socket.AF_INET6:
        host = address[0]
        mapped = host.removeprefix("::ffff:")
        if mapped != host and "." in mapped:
            return f"ipv4:{mapped}:{address[1]}"
        return f"ipv6:[{host}]:{address[1]}"
    return ""
