"""An SMTP server on this machine that behaves as a provider does.

It accepts most messages, refuses some recipients for good, and some for now, and keeps
a ledger of what it accepted, so that results can be compared with the truth. It
delivers nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import re
import signal
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from closeout_cli import lifeline
from closeout_cli.demo.ledger import Ledger

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


class Move(enum.Enum):
    """What a provider may do other than answer with a status."""

    #: Take the message, or let the recipient pass.
    ACCEPT = "accept"
    #: Cut the connection.
    CUT = "cut"
    #: Take the message and write it down, then cut the connection without an answer.
    ACCEPT_AND_CUT = "accept and cut"
    #: Never answer.
    HANG = "hang"


class Behaviour(Protocol):
    """How a provider treats a recipient: a move, or the line it answers with."""

    def on_recipient(self, address: str) -> Move | str:
        """Decide at RCPT."""

    def on_message(self, address: str) -> Move | str:
        """Decide when the whole message is there."""


class DemoBehaviour:
    """Refuses 3 % of the recipients for good and 5 % at the first try.

    Which ones depends on the address alone, so that every run is the same.
    """

    _REFUSED_PERCENT = 3
    _DEFERRED_PERCENT = 5

    def __init__(self) -> None:
        self._deferred: set[str] = set()

    def on_recipient(self, address: str) -> Move | str:
        """Refuse, defer once, or accept."""
        percentile = zlib.crc32(address.encode()) % 100
        if percentile < self._REFUSED_PERCENT:
            return "550 5.1.1 No such mailbox here"
        deferred = percentile < self._REFUSED_PERCENT + self._DEFERRED_PERCENT
        if deferred and address not in self._deferred:
            self._deferred.add(address)
            return "451 4.7.1 Greylisted, try again later"
        return Move.ACCEPT

    def on_message(self, address: str) -> Move | str:  # noqa: ARG002 - all are equal here
        """Accept."""
        return Move.ACCEPT


class SmtpProvider:
    """The server; an asynchronous context manager that runs in the present event loop.

    Args:
        behaviour: how it treats recipients.
        ledger: where accepted messages are written down; it is closed at the end.
        host: the address to listen on.
        port: the port; 0 for any free one.
        latency_seconds: how long it thinks before it accepts a message.
        tls: the certificate for STARTTLS, or for TLS from the start.
        tls_from_start: whether TLS begins with the connection.
        login: the user name and password it asks for, if any.
        smtputf8: whether it takes addresses that are not ASCII.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        ledger: Ledger | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_seconds: float = 0.0,
        tls: ssl.SSLContext | None = None,
        tls_from_start: bool = False,
        login: tuple[str, str] | None = None,
        smtputf8: bool = False,
    ) -> None:
        self.behaviour = behaviour or DemoBehaviour()
        self.ledger = ledger or Ledger()
        self.host = host
        self.port = port
        self.latency_seconds = latency_seconds
        #: How many connections were made to it.
        self.connections = 0
        #: The raw messages, those it refused at the end included.
        self.messages: list[bytes] = []
        self._tls = tls
        self._tls_from_start = tls_from_start
        self._login = login
        self._smtputf8 = smtputf8
        self._open: set[Any] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen; ``port`` is the real one from here on."""
        # An optional extra: only who runs the demo has it.
        from aiosmtpd.smtp import SMTP, AuthResult  # noqa: PLC0415

        def authenticate(*arguments: Any) -> Any:
            given = arguments[-1]  # server, session, envelope, mechanism, data
            expected = tuple(word.encode() for word in self._login or ())
            right = (given.login, given.password) == expected
            return AuthResult(success=right, handled=False)

        def connect() -> Any:
            connection = SMTP(
                self,
                loop=asyncio.get_running_loop(),
                hostname="provider.example",
                ident="demo provider",
                enable_SMTPUTF8=self._smtputf8,
                tls_context=None if self._tls_from_start else self._tls,
                require_starttls=self._tls is not None and not self._tls_from_start,
                auth_required=self._login is not None,
                authenticator=authenticate,
            )
            if self._tls_from_start:  # which it does not see as TLS
                connection._auth_require_tls = False  # noqa: SLF001
            self.connections += 1
            self._open.add(connection)
            return connection

        self._server = await asyncio.get_running_loop().create_server(
            connect, self.host, self.port, ssl=self._tls if self._tls_from_start else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, cut every connection, close the ledger."""
        if self._server:
            self._server.close()
        await self.cut_connections()
        self.ledger.close()

    async def cut_connections(self) -> None:
        """Cut every open connection without a word."""
        tasks = []
        for connection in self._open:
            if connection.transport is not None:
                connection.transport.abort()
            task = connection._handler_coroutine  # noqa: SLF001 - it has no other name
            if task is not None:
                task.cancel()  # a handshake that failed would wait for ever
                tasks.append(task)
        self._open.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def handle_RCPT(  # noqa: N802 - named by aiosmtpd
        self,
        server: Any,
        session: Any,  # noqa: ARG002
        envelope: Any,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        """Answer RCPT."""
        status = await self._carry_out(server, self.behaviour.on_recipient(address))
        if status.startswith("250"):
            envelope.rcpt_tos.append(address)
        return status

    async def handle_DATA(  # noqa: N802 - named by aiosmtpd
        self,
        server: Any,
        session: Any,  # noqa: ARG002
        envelope: Any,
    ) -> str:
        """Answer the end of the message; what is accepted is in the ledger before."""
        self.messages.append(envelope.content)
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        (recipient,) = envelope.rcpt_tos
        decision = self.behaviour.on_message(recipient)
        if decision in (Move.ACCEPT, Move.ACCEPT_AND_CUT):
            found = _MESSAGE_ID.search(envelope.content)
            self.ledger.add(recipient, found[1].decode("ascii", "replace") if found else "")
        status = await self._carry_out(server, decision)
        if decision is Move.ACCEPT:
            return f"250 2.0.0 Ok: queued as {len(self.ledger.accepted):08X}"
        return status

    async def _carry_out(self, server: Any, decision: Move | str) -> str:
        if decision is Move.ACCEPT:
            return "250 2.1.5 Ok"
        if isinstance(decision, str):
            if decision.startswith("421"):
                await server.push(decision)
                server.transport.close()
                await asyncio.Event().wait()  # ends when the connection does
            return decision
        if decision is not Move.HANG:
            server.transport.abort()
        await asyncio.Event().wait()  # ends when the connection does
        raise AssertionError(decision)


async def serve(arguments: argparse.Namespace, behaviour: Behaviour) -> None:
    """Run the provider until SIGTERM or SIGINT; one line on standard output says where."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    lifeline.follow(stop)
    async with SmtpProvider(
        behaviour,
        ledger=Ledger(arguments.ledger),
        host=arguments.host,
        port=arguments.port,
        latency_seconds=arguments.latency_seconds,
    ) as provider:
        sys.stdout.write(f"provider listening on {provider.host}:{provider.port}\n")
        sys.stdout.flush()
        await stop.wait()


def parse_arguments(words: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--ledger", type=Path, help="file to append accepted messages to")
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run the demo's provider from the command line."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parse_arguments(words, __doc__), DemoBehaviour()))


if __name__ == "__main__":
    main()
