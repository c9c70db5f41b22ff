"""Look up where an event goes, and refuse what :mod:`.destination` refuses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from status_service.events.destination import check_addresses


class CheckedResolver(AbstractResolver):
    """Resolves names, and refuses those with an address of a private network.

    A name whose servers do not answer takes one thread, however many wait for it, and
    holds up neither other names nor the end of the process.

    Args:
        allow_private: allows them all.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._asked: dict[tuple[str, int, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            DestinationRefusedError: one of them is private.
            OSError: it has none.
        """
        question = (host, port, int(family))
        answer = self._asked.get(question)
        if answer is None:
            answer = _look_up(host, port, family)
            self._asked[question] = answer
            answer.add_done_callback(lambda _: self._asked.pop(question, None))
        found = await asyncio.shield(answer)
        check_addresses(
            host, (result["host"] for result in found), allow_private=self._allow_private
        )
        return found

    async def close(self) -> None:
        """Wait for nobody: the threads end by themselves."""


def _look_up(
    host: str, port: int, family: socket.AddressFamily
) -> asyncio.Future[list[ResolveResult]]:
    """Ask the system in a thread of its own, which nobody has to wait for."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

    def settle(found: list[ResolveResult], error: OSError | None) -> None:
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)
            answer.exception()  # whoever asked may be gone

    def ask() -> None:
        found: list[ResolveResult] = []
        failure: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            found = [_result(host, info) for info in infos]
        except (OSError, UnicodeError) as error:
            failure = OSError(errno.EHOSTUNREACH, f"{host} has no address: {error}")
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return answer


def _result(host: str, info: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, address = info
    return ResolveResult(
        hostname=host,
        # With its zone, if it has one.
        host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
        port=address[1],
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
