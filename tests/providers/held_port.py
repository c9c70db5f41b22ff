"""A port that stays its test's own while the server on it is down."""

from __future__ import annotations

import socket
import sys
from types import TracebackType
from typing import Self

_ON_LINUX = sys.platform == "linux"


class HeldPort:
    """A free port of 127.0.0.1 that nobody else is given until :meth:`close`.

    A socket is bound to it and never listens. So the system gives the port to nobody
    who asks for a free one, and lets a server listen that sets SO_REUSEADDR, as all of
    ours do. Elsewhere than on Linux a server could not: there the port is free again.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        #: HOST:PORT, as a service is told to listen.
        self.address = f"127.0.0.1:{self.port}"
        if not _ON_LINUX:
            self.close()

    def close(self) -> None:
        """Give the port back; whoever listens on it goes on."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the port back."""
        self.close()
