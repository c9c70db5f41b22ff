"""Tell that a port can't be listened on, and what holds it."""

from __future__ import annotations

import socket

import psutil


def is_free(address: str) -> bool:
    """Return whether HOST:PORT can be listened on now; True if that can't be told.

    Asked before gRPC is, which writes a stack of its own to standard error. Between
    the two somebody may take the port: then gRPC says so.
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
    """Return one line for people: that ``address`` can't be used, and who has it."""
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
        return None  # not ours to see; the message does without
    return None


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120] or process.name()
    except psutil.Error:
        return "its name is not ours to see"
