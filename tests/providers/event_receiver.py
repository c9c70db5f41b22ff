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

    def events(self) -> list[dict[str, Any]]:
        """Return the events of all deliveries that were accepted, in their order."""
        return [one.event for one in self.deliveries if one.accepted]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Receive on a free port of this machine."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/events", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    try:
        yield receiver
    finally:
        await runner.cleanup()
