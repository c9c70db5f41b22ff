"""Find out whether a service can listen on an address, and what is in the way."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Below it, a port needs a right.
_FIRST_FREE_PORT = 1024
#: How often a port is tried that a connection has just now, seconds.
_RETRY_SECONDS = 0.25
#: How long such a port is waited for, seconds. A connection that was closed may keep it
#: for a minute; most go at once.
PATIENCE_SECONDS = 5.0


def is_free(address: str) -> bool:
    """Return whether a server can listen on HOST:PORT now; True if that is unknown."""
    return _refusal(address) is None


def obstacle(address: str, *, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Return one line that says why nobody can listen on HOST:PORT; empty if one can.

    This check precedes gRPC's, which would write a stack to standard error and does not
    tell the reasons apart. A port that a connection has is tried again for a while.

    Args:
        address: HOST:PORT, [HOST]:PORT.
        patience_seconds: how long it may be tried again.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        error = _refusal(address)
        if error is None:
            return ""
        passes = error.errno == errno.EADDRINUSE and not _listeners(_port(address))
        if not passes or time.monotonic() >= deadline:
            return describe(address, error)
        time.sleep(_RETRY_SECONDS)


def describe(address: str, error: OSError | None = None) -> str:
    """Return one line for people: why HOST:PORT can't be used, and what to do.

    Args:
        address: the address.
        error: why the system refused it; None: that is not known.
    """
    return f"can't listen on {address}: {_reason(address, error)}"


def _reason(address: str, error: OSError | None) -> str:
    port = _port(address)
    if isinstance(error, socket.gaierror):
        return (
            "the name is not known here; take an address of this machine, as in 127.0.0.1, or"
            " 0.0.0.0 for all of them"
        )
    code = error.errno if error is not None else errno.EADDRINUSE
    if code in (errno.EACCES, errno.EPERM) and port < _FIRST_FREE_PORT:
        return f"port {port} needs root or CAP_NET_BIND_SERVICE; choose one above 1023"
    if code == errno.EADDRNOTAVAIL:
        return (
            "the address is not of this machine; take one of its own, as in 127.0.0.1, or"
            " 0.0.0.0 for all of them"
        )
    if code != errno.EADDRINUSE:
        return f"{error.strerror if error else 'refused'}; choose another address"
    return _holder(port)


def _holder(port: int) -> str:
    """Return who has a port."""
    for connection in _listeners(port):
        if connection.pid:
            return (
                f"in use by process {connection.pid} ({_command(connection.pid)});"
                " stop it or choose another address"
            )
        return (
            "in use by a process of another user; stop it"
            f" (`ss -ltnp 'sport = :{port}'` as root names it) or choose another address"
        )
    if _on(port, listening=False):
        return (
            "an outgoing connection has it just now; try again in a minute, or choose another"
            " port, best one below 32768"
        )
    return "the address is in use; stop what uses it or choose another address"


def _listeners(port: int) -> list[Any]:
    return _on(port, listening=True)


def _on(port: int, *, listening: bool) -> list[Any]:
    """Return the connections of a local port; none where the system does not show them."""
    import psutil  # noqa: PLC0415 - slow to import, and a free port needs none of it

    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return []
    return [
        connection
        for connection in connections
        if connection.laddr
        and connection.laddr.port == port
        and (connection.status == psutil.CONN_LISTEN) == listening
    ]


def _refusal(address: str) -> OSError | None:
    """Return why the system lets nobody bind to an address now."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        return error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError as error:
            return error
    return None


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches what listens on HOST:PORT."""
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_host(host: str) -> bool:
    """Return whether the header Host of a request names this machine, with or without port."""
    return is_loopback(host) or is_loopback(f"{host}:0")


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _without_options(words: Sequence[str]) -> str:
    """Return how a command line begins: further on, it may have the secrets of others."""
    ends = (n for n, word in enumerate(words) if (word[:1] == "-" and word != "-m") or "@" in word)
    return " ".join(words[: next(ends, len(words))])


def _command(pid: int) -> str:
    import psutil  # noqa: PLC0415 - as above

    try:
        process = psutil.Process(pid)
        return _without_options(process.cmdline())[:120] or process.name()
    except psutil.Error:
        return "its name can't be read"
