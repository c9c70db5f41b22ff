"""Who delivers events: nobody, until there is the first one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from status_service.events.answer import Answer
    from status_service.events.attempt import HttpCourier


class Courier:
    """Delivers events; make it by :func:`courier`.

    Most services have no subscription. What speaks HTTP for the others is imported for
    their first event, in a thread: it takes a tenth of the start of the service.

    Args:
        stack: ends what the courier opens.
        allow_private: whether receivers of private networks are allowed.
    """

    def __init__(self, stack: AsyncExitStack, *, allow_private: bool) -> None:
        self._stack = stack
        self._allow_private = allow_private
        self._opening = asyncio.Lock()
        self._http: HttpCourier | None = None

    async def deliver(self, url: str, secret: str, *, event_id: str, body: str) -> Answer:
        """Try once; whatever fails is an answer."""
        http = self._http or await self._open()
        return await http.deliver(url, secret, event_id=event_id, body=body)

    async def _open(self) -> HttpCourier:
        async with self._opening:
            if self._http is None:
                opened = await asyncio.to_thread(_http_courier, allow_private=self._allow_private)
                self._http = await self._stack.enter_async_context(opened)
            return self._http


@asynccontextmanager
async def courier(*, allow_private: bool) -> AsyncIterator[Courier]:
    """Yield a courier; its connections end with the block."""
    async with AsyncExitStack() as stack:
        yield Courier(stack, allow_private=allow_private)


def _http_courier(*, allow_private: bool) -> AbstractAsyncContextManager[HttpCourier]:
    from status_service.events.attempt import http_courier  # noqa: PLC0415 - see Courier

    return http_courier(allow_private=allow_private)
