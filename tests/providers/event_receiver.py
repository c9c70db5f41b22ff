"""A receiver of events: it keeps what it gets, and answers as it is asked to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

#: What a receiver answers a delivery: its number from 0, and the event.
Behaviour = Callable[[int, dict[str, Any]], web.Response | float]


@dataclass
class Received:
    """One delivery that a receiver took."""

    headers: dict[str, str]
    body: bytes
    accepted: bool

    @property
    def event(self) -> dict[str, Any]:
        """The event, as it was sent."""
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """A receiver, and everything that it got."""

    url: str = ""
    #: Requests at the place that a redirect names.
    followed: int = 0
    deliveries: list[Received] = field(default_factory=list)
    #: A float stands for a hang of so many seconds; without one, everything is accepted.
    behaviour: Behaviour = lambda _number, _event: web.Response(status=204)

    async def answer(self, request: web.Request) -> web.Response:
        """Take one delivery."""
        body = await request.read()
        answer = self.behaviour(len(self.deliveries), json.loads(body))
        accepted = isinstance(answer, web.Response) and answer.status in range(200, 300)
        self.deliveries.append(Received(dict(request.headers), body, accepted))
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return web.Response(status=204)
        return answer

    async def follow(self, request: web.Request) -> web.Response:
        """Count whoever follows a redirect."""
        await request.read()
        self.followed += 1
        return web.Response(status=204)

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        """Listen on a port of this machine for the length of a block."""
        app = web.Application()
        app.router.add_post("/events", self.answer)
        app.router.add_route("*", "/moved", self.follow)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        found: int = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{found}/events"
        try:
            yield found
        finally:
            await runner.cleanup()

    def events(self) -> list[dict[str, Any]]:
        """Return the events of all deliveries that were accepted, in their order."""
        return [one.event for one in self.deliveries if one.accepted]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Receive on a free port of this machine."""
    receiver = Receiver()
    async with receiver.listening():
        yield receiver
