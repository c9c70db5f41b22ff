"""Say what holds a port, for the message of a server that can't listen."""

from __future__ import annotations

import psutil


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
