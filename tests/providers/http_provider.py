"""An HTTP server for tests: the address of a recipient scripts the answer.

In a test: ``async with HttpProvider() as provider: … provider.url``.
As a process: ``python tests/providers/http_provider.py --port 0 --ledger FILE``.

The part of the address before ``+`` is the script, as in ``refuse400+x``: ``refuse400``,
``defer503`` (any status), ``defer429once`` (the first try only), ``cut`` (the connection
breaks; not accepted), ``drop-after-data`` (accepted and in the ledger; the connection
breaks), ``hang`` (no answer; not accepted), ``half`` (accepted; the body of the answer
stops half way), ``redirect`` (302 to a path that accepts everything). Anything else is
accepted. The ledger records the idempotency key as the message id.

``steps`` says what every request gets instead, ``post`` for messages and ``health`` for a
GET of ``/health``: a status, as in ``503``, ``hang`` or ``cut``. A test changes it at any
time; a process reads it from the JSON file ``--steps`` (see
:func:`providers.stepped_smtp.write_steps`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if __name__ == "__main__":  # as pytest's pythonpath does it
    sys.path.insert(0, str(Path(__file__).parent.parent))

from closeout_cli.demo.ledger import Ledger

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

_SCRIPT = re.compile(
    r"(?P<word>refuse|defer|cut|drop-after-data|hang|half|redirect)(?P<code>\d{3})?(?P<once>once)?\+.*"
)


@dataclass(frozen=True, slots=True)
class Posted:
    """A received request."""

    body: bytes
    headers: dict[str, str]
    json: dict[str, Any] = field(default_factory=dict)


class HttpProvider:
    """The server; an asynchronous context manager in the running event loop.

    Args:
        ledger: records accepted messages; it is closed at the end.
        host: the address to listen on.
        port: the port; 0 for any free one.
        latency_seconds: the delay before it accepts a message.
        retry_after: the Retry-After header of deferred messages; empty: none.
        answer: the body of the answer to accepted messages; empty: JSON with an id.
        steps: what every request gets; a test may change the mapping at any time.
        steps_file: the same in a file, read at each request.
        ssl_context: the certificate for https; None: http.
    """

    def __init__(
        self,
        *,
        ledger: Ledger | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_seconds: float = 0.0,
        retry_after: str = "",
        answer: str = "",
        steps: dict[str, str] | None = None,
        steps_file: Path | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.ledger = ledger or Ledger()
        self.host = host
        self.port = port
        self.latency_seconds = latency_seconds
        self.retry_after = retry_after
        self.answer = answer
        #: What every request gets.
        self.steps = {} if steps is None else steps
        #: Every request, in order.
        self.posted: list[Posted] = []
        #: The headers of every request to /health, in order.
        self.asked: list[dict[str, str]] = []
        self._steps_file = steps_file
        self._ssl_context = ssl_context
        self._done: set[str] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The URL that accepts messages."""
        return f"{self._origin}/messages"

    @property
    def health_url(self) -> str:
        """The URL that says whether it accepts messages."""
        return f"{self._origin}/health"

    @property
    def _origin(self) -> str:
        scheme = "http" if self._ssl_context is None else "https"
        return f"{scheme}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        """Listen; ``port`` is the assigned port from now on."""
        application = web.Application()
        application.router.add_post("/messages", self._take)
        application.router.add_get("/health", self._health)
        application.router.add_route("*", "/elsewhere", self._accept)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self._ssl_context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, close every connection and the ledger."""
        if self._runner:
            await self._runner.cleanup()
        self.ledger.close()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.posted.append(Posted(await request.read(), dict(request.headers), message))
        if said := self._step("post"):
            return await self._carry_out(request, *_word_and_code(said))
        match = _SCRIPT.fullmatch(message["address"])
        if match is None or (match["once"] and message["address"] in self._done):
            return await self._accept(request)
        self._done.add(message["address"])
        return await self._carry_out(request, match["word"], match["code"])

    async def _health(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.headers))
        said = self._step("health")
        if said:
            return await self._carry_out(request, *_word_and_code(said))
        return web.Response(status=204)

    def _step(self, name: str) -> str:
        steps = self.steps
        if self._steps_file is not None:
            with contextlib.suppress(FileNotFoundError):
                steps = json.loads(self._steps_file.read_text(encoding="utf-8"))
        return steps.get(name, "")

    async def _carry_out(self, request: web.Request, word: str, code: str) -> web.StreamResponse:
        if word in ("refuse", "defer"):
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.Response(status=int(code), headers=headers, text="as the address asks")
        if word == "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if word == "half":
            return await self._accept_halfway(request)
        if word == "drop-after-data":
            await self._accept(request)
        if word != "hang" and request.transport is not None:
            request.transport.abort()
        await asyncio.Event().wait()  # ends with the connection
        raise AssertionError(word)

    async def _accept(self, request: web.Request) -> web.Response:
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        message = await request.json()
        self.ledger.add(message["address"], request.headers["Idempotency-Key"])
        if self.answer:
            return web.Response(text=self.answer)
        return web.json_response({"id": f"m-{len(self.ledger.accepted)}"})

    async def _accept_halfway(self, request: web.Request) -> web.StreamResponse:
        await self._accept(request)
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"id": "m-')
        if request.transport is not None:
            request.transport.close()
        return response


def _word_and_code(said: str) -> tuple[str, str]:
    return ("defer", said) if said.isdigit() else (said, "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--ledger", type=Path, help="file to append accepted messages to")
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    parser.add_argument("--steps", type=Path, help="file of what every request gets")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with HttpProvider(
        ledger=Ledger(arguments.ledger),
        host=arguments.host,
        port=arguments.port,
        latency_seconds=arguments.latency_seconds,
        steps_file=arguments.steps,
    ) as provider:
        sys.stdout.write(f"provider listening on {provider.host}:{provider.port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
