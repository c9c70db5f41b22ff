"""A connection to a server, without TLS or a protocol on it yet."""

from __future__ import annotations

import asyncio
import socket


async def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is connected; the addresses of the host are tried in turn.

    Raises:
        OSError: none of them took the connection, or the name has none.
        UnicodeError: the name can't be one of a host.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        connected = False
        try:
            connection.setblocking(False)  # noqa: FBT003 - its only name
            await loop.sock_connect(connection, address)
            connected = True
        except OSError as error:
            failure = error
        finally:
            if not connected:
                connection.close()
        if connected:
            return connection
    raise failure
