"""Check that a port is free, and name the process that holds it."""

from __future__ import annotations

import socket

import psutil


def is_free(address: str) -> bool:
    """Return whether a server can listen on HOST:PORT now; True if that is unknown.

    This check precedes gRPC's, which would write a stack to standard error. Another
    process may take the port in between: then gRPC reports it.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
    except (OSError, ValueError, OverflowError):
        return True
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError:
            return False
    return True


def describe(address: str) -> str:
    """Return one line for people: ``address`` can't be used, and which process holds it."""
    holder = _process_on(address.rpartition(":")[2])
    if holder is None:
        return f"can't listen on {address}: the address is in use or not of this machine"
    return (
        f"can't listen on {address}: held by process {holder.pid} ({_command(holder)});"
        " stop it or choose another address"
    )


def _process_on(port: str) -> psutil.Process | None:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if str(connection.laddr.port) == port and connection.pid:
                return psutil.Process(connection.pid)
    except (psutil.Error, OSError):
        return None  # no right to see it; the message leaves it out
    return None


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120] or process.name()
    except psutil.Error:
        return "its name can't be read"
