"""A port that a test keeps while its server is down."""

from __future__ import annotations

import socket
import sys
from types import TracebackType
from typing import Self

_ON_LINUX = sys.platform == "linux"


class HeldPort:
    """A free port of 127.0.0.1 that is reserved until :meth:`close`.

    A socket is bound to the port and never listens. Linux then assigns the port to no
    one who requests a free one, and lets a server with SO_REUSEADDR listen on it, as
    all servers of the project do. On other systems the port is not reserved.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        #: HOST:PORT for the setting ``listen`` of a service.
        self.address = f"127.0.0.1:{self.port}"
        if not _ON_LINUX:
            self.close()

    def close(self) -> None:
        """Release the port; a server that listens on it continues."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the port."""
        self.close()
