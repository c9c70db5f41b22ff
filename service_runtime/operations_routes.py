"""``/healthz``, ``/readyz`` and ``/metrics``: what supervisors and Prometheus ask for."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import structlog
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service_runtime import port_holder
from service_runtime.caller import Scope
from service_runtime.errors import ServiceError
from service_runtime.http_access import admit
from service_runtime.http_errors import error_response
from service_runtime.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from service_runtime.access import Access
    from service_runtime.metrics import ServiceMetrics
    from service_runtime.readiness import Readiness

log = structlog.get_logger()

#: A scrape waits no longer than this for what is read from the database, seconds.
_REFRESH_SECONDS = 2.0
_NO_STORE = {"Cache-Control": "no-store"}


class Scraped(Protocol):
    """The settings of a service that is scraped."""

    @property
    def http_listen(self) -> str:
        """HOST:PORT."""

    @property
    def metrics_open(self) -> bool:
        """Whether nobody needs a key."""


def health_routes(readiness: Readiness) -> list[Route]:
    """Return the routes that say whether a service lives and is ready. They need no key."""

    async def lives(_: Request) -> Response:
        """Answer 200: the process and its event loop live."""
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def ready(_: Request) -> Response:
        """Answer 200, or 503 with what is missing and why."""
        missing = await readiness.look()
        if missing:
            body = {"status": "unavailable", "missing": missing}
            return JSONResponse(body, HTTPStatus.SERVICE_UNAVAILABLE, headers=_NO_STORE)
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    return [Route("/healthz", lives), Route("/readyz", ready)]


def metrics_route(
    metrics: ServiceMetrics,
    access: Access,
    settings: Scraped,
    *,
    refresh: Callable[[], Awaitable[None]],
) -> Route:
    """Return the route that Prometheus scrapes.

    Args:
        metrics: what it shows.
        access: knows callers; on an address that others reach they need the scope read.
        settings: where HTTP listens, and whether nobody needs a key wherever that is.
        refresh: renews what is read from the database, if that is old.
    """
    listen = settings.http_listen
    everybody = settings.metrics_open or not listen or port_holder.is_loopback(listen)
    refreshing: set[asyncio.Future[None]] = set()

    async def scrape(request: Request) -> Response:
        """Answer with all metrics, or 401 and 403."""
        if not everybody:
            try:
                await admit(request, access, Scope.READ)
            except ServiceError as error:
                return error_response(error)
        if not refreshing:
            refreshing.add(asyncio.ensure_future(refresh()))
        # The next scrape waits for the same one where the database takes its time.
        done, _ = await asyncio.wait(refreshing, timeout=_REFRESH_SECONDS)
        for task in done:
            refreshing.discard(task)
            if task.exception() is not None:
                log.error("metrics_not_refreshed", exc_info=task.exception())
        return Response(metrics.exposition(), media_type=CONTENT_TYPE, headers=_NO_STORE)

    return Route("/metrics", scrape)
