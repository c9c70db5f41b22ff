"""Where a service will listen, known before it does: for another one that starts first."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ON_LINUX = sys.platform == "linux"
#: Hosts that stand for every address of a machine, and how this machine reaches itself.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - it listens nowhere


@contextlib.contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Return HOST:PORT for a service that is to listen on ``listen``, with a port for port 0.

    On Linux nobody else gets this port while the block runs: a socket is bound to it, and
    does not listen, so a server that sets SO_REUSEADDR can. A host that has no port is
    left to the service, which says what is wrong with it.
    """
    host, _, port = listen.rpartition(":")
    if port != "0":
        yield listen
        return
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        holder = stack.enter_context(socket.socket(family))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((host.strip("[]"), 0))
        except OSError:
            yield listen
            return
        found = f"{host}:{holder.getsockname()[1]}"
        if not _ON_LINUX:
            holder.close()
        yield found


def reached_at(listen: str) -> str:
    """Return where this machine reaches what listens on HOST:PORT; empty: nobody knows yet."""
    host, _, port = listen.rpartition(":")
    return "" if port in {"", "0"} else f"{_EVERYWHERE.get(host, host)}:{port}"
