"""A span for each HTTP request, by the template of its route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode

from service_runtime import tracing
from service_runtime.http_metrics import METHODS, NO_ROUTE, template_of

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service_runtime.http_metrics import HttpMetrics

#: What supervisors and Prometheus ask for all the time.
_NO_SPANS = {"/healthz", "/readyz", "/metrics"}
_FIRST_FAULT = 500


def observed(app: Starlette, metrics: HttpMetrics) -> ASGIApp:
    """Return the application, with its requests counted, and in spans where tracing is on.

    No path, query, header or body gets into a span.
    """
    counted = metrics.observing(app)
    if not tracing.is_on():
        return counted

    async def spanned(scope: Scope, receive: Receive, send: Send) -> None:
        route = template_of(app.routes, scope) if scope["type"] == "http" else ""
        if not route or route in _NO_SPANS:
            await counted(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        if route != NO_ROUTE:
            attributes["http.route"] = route
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        codes: list[int] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])
            await send(message)

        with tracing.span(
            f"{method} {route}" if route != NO_ROUTE else method,
            kind=SpanKind.SERVER,
            parent=tracing.received(headers),
            attributes=attributes,
        ) as span:
            try:
                await counted(scope, receive, sending)
            except Exception as error:
                tracing.failed(span, error)
                raise
            finally:
                if codes:
                    span.set_attribute("http.response.status_code", codes[0])
                if codes and codes[0] >= _FIRST_FAULT:
                    span.set_status(Status(StatusCode.ERROR))

    return spanned
