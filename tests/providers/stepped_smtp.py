"""An SMTP server for tests that can fall silent, answer with an error or hang up at any step.

In a test::

    async with SteppedProvider({"greeting": "hang"}) as provider:
        ...
        provider.steps.clear()  # from the next step on, everything is accepted

As a process, with rules that the test writes while it runs::

    python tests/providers/smtp_provider.py --port 0 --ledger FILE --steps FILE --seen FILE

The rules are a JSON object in the file ``--steps``, written by :func:`write_steps`; a
missing file has no rules. Names of steps: ``greeting``, ``ehlo``, ``starttls``, ``tls``
(the handshake), ``auth``, ``rset``, ``mail``, ``rcpt``, ``data`` (the answer 354) and
``message`` (after the final dot). What a rule says:

``hang``        no answer
``cut``         the connection breaks
``greylist``    at ``rcpt``: 451 at the first try of each recipient
anything else   the line of the answer, as in ``450 4.3.2 not now``; after 421 the
                connection closes

Where no rule says anything, the address of the recipient does; see :mod:`providers.scripts`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from closeout_cli.demo.ledger import Ledger
from closeout_cli.demo.provider import Behaviour, Move
from providers.scripts import Script

_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_ADDRESS = re.compile(r"<([^>]*)>")
_ACCEPTED = {
    "greeting": "220 provider.example ESMTP",
    "rset": "250 2.0.0 Ok",
    "starttls": "220 2.0.0 Ready to start TLS",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 End data with <CR><LF>.<CR><LF>",
}
_MOVES = {"hang": Move.HANG, "cut": Move.CUT}


def write_steps(path: Path, **steps: str) -> None:
    """Write the rules for a provider that runs as a process; none: it accepts everything."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(steps), encoding="utf-8")
    new.replace(path)


class _HungUpError(Exception):
    """The connection is to be closed."""


class SteppedProvider:
    """The server; an asynchronous context manager in the running event loop.

    Args:
        steps: the rules; a test may change the mapping at any time.
        steps_file: rules in a file instead, read at each step.
        behaviour: how it treats recipients where no rule says anything.
        ledger: records accepted messages; it is closed at the end.
        seen_file: each step is appended to it as a line, before it is answered.
        host: the address to listen on.
        port: the port; 0 for any free one.
        tls: the certificate, for STARTTLS or for TLS from the start.
        tls_from_start: whether TLS begins with the connection.
        login: the user name and the password it asks for.
    """

    def __init__(
        self,
        steps: dict[str, str] | None = None,
        *,
        steps_file: Path | None = None,
        behaviour: Behaviour | None = None,
        ledger: Ledger | None = None,
        seen_file: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        tls_from_start: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        #: The rules.
        self.steps = {} if steps is None else steps
        self.behaviour = behaviour or Script()
        self.ledger = ledger or Ledger()
        self.host = host
        self.port = port
        #: Connections made so far, and how many of their clients said QUIT.
        self.connections = 0
        self.goodbyes = 0
        #: Every step that a client has reached, with its argument, as in "rcpt ann@x.example".
        self.seen: list[str] = []
        self.tls = tls
        self.tls_from_start = tls_from_start
        self.login = login
        self._steps_file = steps_file
        self._seen_file = seen_file
        self._greylisted: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen; ``port`` is the assigned port from now on."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.ledger.close()

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._tasks)

    async def wait_for(self, step: str, *, times: int = 1, seconds: float = 20.0) -> None:
        """Wait until a client has reached a step so often; its argument does not count.

        Raises:
            TimeoutError: it has not, after ``seconds``.
        """
        async with asyncio.timeout(seconds):
            while sum(line.split(" ")[0] == step for line in self.seen) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def rule(self, step: str, argument: str) -> str:
        """Note that a client has reached a step, and return its rule; empty if there is none."""
        line = f"{step} {argument}".strip()
        self.seen.append(line)
        if self._seen_file is not None:
            with self._seen_file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        steps = self.steps
        if self._steps_file is not None:
            with contextlib.suppress(FileNotFoundError):
                steps = json.loads(self._steps_file.read_text(encoding="utf-8"))
        said = steps.get(step, "")
        if said != "greylist":
            return said
        if argument in self._greylisted:
            return ""
        self._greylisted.add(argument)
        return "451 4.7.1 Greylisted, try again later"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(_HungUpError, OSError, asyncio.IncompleteReadError):
                await _Session(self, reader, writer).run()
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class _Session:
    """One connection."""

    def __init__(
        self,
        provider: SteppedProvider,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._provider = provider
        self._reader = reader
        self._writer = writer
        self._encrypted = False
        self._recipient = ""
        self._commands: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "RSET": lambda _: self._answer("rset"),
            "MAIL": lambda words: self._answer("mail", _address(words)),
            "RCPT": self._rcpt,
            "DATA": self._data,
        }

    async def run(self) -> None:
        """Talk to the client until it or a rule ends the connection."""
        if self._provider.tls_from_start:
            await self._encrypt()
        await self._answer("greeting")
        while line := await self._reader.readline():
            command, _, words = line.decode(errors="replace").strip().partition(" ")
            if command.upper() == "QUIT":
                self._provider.goodbyes += 1
                await self._say("221 2.0.0 Bye")
                return
            if command.upper() in self._commands:
                await self._commands[command.upper()](words)
            else:
                await self._say("502 5.5.2 Command not recognised")

    async def _answer(self, step: str, argument: str = "", otherwise: Move | str = "") -> bool:
        """Answer a step by its rule; return whether there was none."""
        said = self._provider.rule(step, argument)
        decision = _MOVES.get(said, said) or otherwise
        if isinstance(decision, Move):
            await self._carry_out(decision)
        await self._say(decision or _ACCEPTED[step])
        return not said

    async def _say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\r\n")
        await self._writer.drain()
        if line.startswith("421"):
            self._writer.close()
            raise _HungUpError

    async def _carry_out(self, move: Move) -> NoReturn:
        if move is not Move.HANG:
            self._writer.transport.abort()
            raise _HungUpError
        while await self._reader.read(65536):
            pass
        raise _HungUpError

    async def _ehlo(self, words: str) -> None:
        lines = ["250-provider.example", "250-8BITMIME", "250-ENHANCEDSTATUSCODES"]
        if self._provider.tls is not None and not self._encrypted:
            lines.append("250-STARTTLS")
        if self._provider.login is not None:
            lines.append("250-AUTH PLAIN LOGIN")
        await self._answer("ehlo", words, "\r\n".join([*lines, "250 SIZE 10000000"]))

    async def _starttls(self, _: str) -> None:
        if self._provider.tls is None:
            await self._say("502 5.5.1 No TLS here")
        elif await self._answer("starttls"):
            await self._encrypt()

    async def _encrypt(self) -> None:
        said = self._provider.rule("tls", "")
        if said in _MOVES:
            await self._carry_out(_MOVES[said])
        assert self._provider.tls is not None
        await self._writer.start_tls(self._provider.tls)
        self._encrypted = True

    async def _auth(self, words: str) -> None:
        mechanism, _, given = words.partition(" ")
        if mechanism.upper() == "LOGIN":
            parts = [given or await self._ask("VXNlcm5hbWU6"), await self._ask("UGFzc3dvcmQ6")]
            login = tuple(base64.b64decode(part).decode() for part in parts)
        else:
            login = tuple(base64.b64decode(given or await self._ask("")).decode().split("\0")[1:])
        right = login == self._provider.login
        line = "235 2.7.0 Ok" if right else "535 5.7.8 Error: authentication failed"
        await self._answer("auth", login[0], line)

    async def _ask(self, challenge: str) -> str:
        await self._say(f"334 {challenge}")
        return (await self._reader.readline()).decode().strip()

    async def _rcpt(self, words: str) -> None:
        self._recipient = _address(words)
        decision = self._provider.behaviour.on_recipient(self._recipient)
        otherwise = "" if decision is Move.ACCEPT else decision
        await self._answer("rcpt", self._recipient, otherwise)

    async def _data(self, _: str) -> None:
        if not await self._answer("data"):
            return
        content = await self._reader.readuntil(b"\r\n.\r\n")
        said = self._provider.rule("message", self._recipient)
        decision = self._provider.behaviour.on_message(self._recipient)
        if said:
            decision = _MOVES.get(said, said)
        if decision in (Move.ACCEPT, Move.ACCEPT_AND_CUT):
            found = _MESSAGE_ID.search(content)
            self._provider.ledger.add(self._recipient, found[1].decode() if found else "")
        if decision is Move.ACCEPT:
            number = len(self._provider.ledger.accepted)
            decision = f"250 2.0.0 Ok: queued as {number:08X}"
        if isinstance(decision, str):
            await self._say(decision)
        else:
            await self._carry_out(decision)


def _address(words: str) -> str:
    match = _ADDRESS.search(words)
    return match[1] if match else ""
