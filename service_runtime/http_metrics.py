"""Counts the requests of an HTTP application, by the template of their route."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.routing import BaseRoute, Match, Mount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The route of a request that no route answers: its path is the caller's.
NO_ROUTE = "none"
#: The methods that are named; any other is the caller's word.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
#: Bounds of the time until an answer begins, seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_NO_ANSWER = 500
#: The code of a request whose client went away before the answer began.
_HUNG_UP = 499


class HttpMetrics:
    """What is counted of requests.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "closeout_http_requests",
            "Requests answered, by the template of their route.",
            ["method", "route", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "closeout_http_request_seconds",
            "How long it took until the answer began.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._open = Gauge(
            "closeout_http_requests_open",
            "Requests that are answered now; pages that follow a campaign stay open.",
            registry=registry,
        )

    def observing(self, app: Starlette) -> ASGIApp:
        """Return the application, with its requests counted."""

        async def observed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            begin = time.perf_counter()
            route, method = template_of(app.routes, scope), scope["method"]
            codes: list[int] = []
            gone = False

            async def receiving() -> Message:
                nonlocal gone
                message = await receive()
                gone |= message["type"] == "http.disconnect"
                return message

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    codes.append(message["status"])
                    self._seconds.labels(route).observe(time.perf_counter() - begin)
                await send(message)

            self._open.inc()
            try:
                await app(scope, receiving, sending)
            finally:
                self._open.dec()
                self._requests.labels(
                    method if method in METHODS else "other",
                    route,
                    str(codes[0] if codes else _HUNG_UP if gone else _NO_ANSWER),
                ).inc()

        return observed


def template_of(routes: Sequence[BaseRoute], scope: Any) -> str:
    """Return the template of the route that answers a request, as in ``/v1/campaigns/{id}``."""
    for route in routes:
        match, more = route.matches(scope)
        if match is Match.NONE:
            continue
        path = str(getattr(route, "path", ""))
        if isinstance(route, Mount):
            if not route.routes:
                return path or "/"
            inner = template_of(route.routes, {**scope, **more})
            return NO_ROUTE if inner == NO_ROUTE else path + inner
        return path
    return NO_ROUTE
