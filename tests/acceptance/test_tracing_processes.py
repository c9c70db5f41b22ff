"""A service as a process that exports spans to a collector, to nobody, or without the SDK."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

import closeout
from acceptance.processes import PATIENCE_SECONDS, Service

#: Lets nobody import the SDK, as if it were not installed.
_HIDING = """\
import sys
for name in ("opentelemetry.sdk", "opentelemetry.exporter"):
    sys.modules[name] = None
"""
_CALL = "closeout.status.v1.StatusService/CreateCampaign"


class _Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, or holds those who bring them until it is released."""

    def __init__(self, *, hangs: bool) -> None:
        self.spans: dict[str, str] = {}
        self.release = threading.Event()
        if not hangs:
            self.release.set()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - as gRPC calls it
        """Take spans."""
        self.release.wait(PATIENCE_SECONDS)
        for resource in request.resource_spans:
            (service,) = (
                one.value.string_value
                for one in resource.resource.attributes
                if one.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans |= {span.name: service for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def _collecting(*, hangs: bool = False) -> Iterator[tuple[_Collector, str]]:
    collector = _Collector(hangs=hangs)
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        collector.release.set()
        server.stop(0).wait()


def _status(folder: Path, **environment: str) -> Service:
    settings = {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0", "CLOSEOUT_STATUS_GRACE_SECONDS": "2"}
    return Service("status_service", "status service listening on ", folder, settings | environment)


def _call(status: Service) -> None:
    with closeout.StatusClient(status.address) as client:
        client.create_campaign(campaign_id="spring")


def test_the_last_spans_are_exported_at_the_stop(tmp_path: Path) -> None:
    """An endpoint is all that is needed; the service has a name of its own."""
    with _collecting() as (collector, endpoint):
        # So late that only the end exports.
        delays = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with _status(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **delays) as status:
            status.start()
            _call(status)
            assert not collector.spans
            assert status.terminate() == 0
    assert collector.spans[_CALL] == "closeout-status"


def test_a_collector_that_hangs_holds_up_neither_calls_nor_the_stop(tmp_path: Path) -> None:
    """What can't be exported within the grace is given up, and the log says so."""
    with _collecting(hangs=True) as (_, endpoint):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "10"}
        with _status(tmp_path, **environment) as status:
            status.start()
            _call(status)
            assert status.terminate() == 0
            assert status.events("spans_lost")


def test_a_service_without_the_sdk_runs_and_names_the_extra(tmp_path: Path) -> None:
    """The API alone is required: whoever sets a variable learns what to install."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(_HIDING)
    environment = {"PYTHONPATH": str(modules), "OTEL_TRACES_EXPORTER": "otlp"}
    with _status(tmp_path / "status", **environment) as status:
        status.start()
        _call(status)
        (line,) = status.events("spans_not_exported")
        assert status.terminate() == 0
    assert "install closeout-server[tracing]" in line["detail"]


def test_spans_on_the_console_are_lines_of_standard_error(tmp_path: Path) -> None:
    """Standard output keeps its two lines, which programs read."""
    with _status(tmp_path, OTEL_TRACES_EXPORTER="console") as status:
        status.start()
        _call(status)
        assert status.terminate() == 0
    assert f'"name": "{_CALL}"' in status.log
