"""Where spans go: what the variables of OpenTelemetry say, read at the start of a service.

The SDK and the exporter are the extra ``tracing``. Tracing is never a reason not to start:
what can't be used is a warning, and the service runs without it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import sys
import threading
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace

from service_runtime import tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

log = structlog.get_logger()

#: How long the last spans may take at the end, seconds; never longer than the grace.
_FLUSH_SECONDS = 3.0
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: Where the exporter of each protocol is.
_OTLP = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}
#: What brings the exporter that the extra does not have.
_HTTP_DISTRIBUTION = "opentelemetry-exporter-otlp-proto-http"


class NoTracingError(Exception):
    """Spans are wanted, and can't be exported; the text says what to do."""


@asynccontextmanager
async def exporting(
    service: str, *, grace_seconds: float, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[None]:
    """Make and export spans while the block runs, if the environment asks for that.

    At the end, the last ones are exported within the grace.

    Args:
        service: ``status`` or ``sender``; the name of the service in spans is
            ``closeout-status``, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one.
        grace_seconds: how long the end may take, at most.
        environment: the variables of OpenTelemetry.
    """
    exporter = wanted(environment)
    if not exporter:
        yield
        return
    try:
        provider = _provider(exporter, service, environment)
    except NoTracingError as error:
        log.warning("spans_not_exported", detail=str(error))
        yield
        return
    log.info("spans_exported", exporter=exporter)
    # Channels of other packages use the global one.
    trace.set_tracer_provider(provider)
    with ExitStack() as stack:
        stack.enter_context(tracing.use(provider))
        try:
            yield
        finally:
            await _shut_down(provider, min(_FLUSH_SECONDS, grace_seconds))


def wanted(environment: Mapping[str, str]) -> str:
    """Return the exporter that the environment names; empty: spans are not wanted."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    named = environment.get(_EXPORTER, "").strip().lower()
    if named:
        return "" if named == "none" else named
    return "otlp" if any(environment.get(name) for name in _ENDPOINTS) else ""


def _provider(exporter: str, service: str, environment: Mapping[str, str]) -> Any:
    """Return a provider that exports as the environment says.

    Raises:
        NoTracingError: it can't.
    """
    try:
        resources = importlib.import_module("opentelemetry.sdk.resources")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
    except ModuleNotFoundError as error:
        raise NoTracingError(
            f"the SDK of OpenTelemetry is missing ({error.name}): install"
            f" closeout-server[tracing], or set {_EXPORTER}=none"
        ) from error
    processor: Any
    if exporter == "otlp":
        processor = export.BatchSpanProcessor(_otlp_exporter(environment))
    elif exporter == "console":
        # Standard output has the address of the service, and nothing else.
        processor = export.SimpleSpanProcessor(
            export.ConsoleSpanExporter(out=sys.stderr, formatter=_in_one_line)
        )
    else:
        raise NoTracingError(f"{_EXPORTER}={exporter}: expected otlp, console or none")
    attributes = {"service.version": importlib.metadata.version("closeout-server")}
    given = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        attributes["service.name"] = f"closeout-{service}"
    provider = sdk.TracerProvider(
        resource=resources.Resource.create(attributes), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    return provider


def _in_one_line(span: Any) -> str:
    return f"{span.to_json(indent=None)}\n"


def _otlp_exporter(environment: Mapping[str, str]) -> Any:
    """Return the exporter of the protocol that the environment names.

    Raises:
        NoTracingError: it is missing, or the protocol has none, or its variables are wrong.
    """
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "grpc")
    if protocol not in _OTLP:
        raise NoTracingError(f"{_PROTOCOLS[1]}={protocol}: expected {' or '.join(_OTLP)}")
    try:
        module = importlib.import_module(_OTLP[protocol])
    except ModuleNotFoundError as error:
        package = "closeout-server[tracing]" if protocol == "grpc" else _HTTP_DISTRIBUTION
        raise NoTracingError(
            f"the exporter for {protocol} is missing ({error.name}): install {package}, or set"
            f" {_EXPORTER}=none"
        ) from error
    try:
        return module.OTLPSpanExporter()
    except Exception as error:
        # Its text may quote a header, which may be a key.
        raise NoTracingError(
            f"the exporter does not take its variables ({type(error).__name__}): compare all"
            " OTEL_EXPORTER_OTLP_... with the documentation of OpenTelemetry"
        ) from error


async def _shut_down(provider: Any, seconds: float) -> None:
    """Export what waits. What takes longer is given up: the process ends without it."""
    work = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
    work.start()
    await asyncio.to_thread(work.join, seconds)
    if work.is_alive():
        log.warning("spans_lost", detail="the last spans could not be exported in time")
