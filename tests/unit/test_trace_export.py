"""Where spans go, by the variables of OpenTelemetry; what can't be used stops no service."""

from __future__ import annotations

import sys

import pytest
from structlog.testing import capture_logs

from service_runtime import tracing
from service_runtime.trace_export import exporting, wanted

_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "status"}, ""),
        (_ENDPOINT, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4317"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "Console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", **_ENDPOINT}, ""),
        ({"OTEL_SDK_DISABLED": "true", **_ENDPOINT}, ""),
    ],
)
def test_spans_are_made_where_an_exporter_or_an_endpoint_is_named(
    environment: dict[str, str], exporter: str
) -> None:
    """Nothing is made by default, and OTEL_SDK_DISABLED and ``none`` win over an endpoint."""
    assert wanted(environment) == exporter


async def _warning(environment: dict[str, str]) -> str:
    with capture_logs() as logs:
        async with exporting("status", grace_seconds=1, environment=environment):
            assert not tracing.is_on()
    (line,) = (line for line in logs if line["event"] == "spans_not_exported")
    assert line["log_level"] == "warning"
    return str(line["detail"])


async def test_a_missing_sdk_is_a_warning_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service runs without spans; who reads the log learns what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert "install closeout-server[tracing]" in await _warning(_ENDPOINT)


async def test_an_exporter_that_is_not_there_is_a_warning() -> None:
    """An unknown exporter, an unknown protocol and one without its package each say so."""
    assert "expected otlp, console or none" in await _warning({"OTEL_TRACES_EXPORTER": "zipkin"})
    protocol = "OTEL_EXPORTER_OTLP_PROTOCOL"
    assert f"{protocol}=thrift" in await _warning({**_ENDPOINT, protocol: "thrift"})
    text = await _warning({**_ENDPOINT, protocol: "http/protobuf"})
    assert "install opentelemetry-exporter-otlp-proto-http" in text


async def test_nothing_is_said_where_no_spans_are_wanted() -> None:
    """Without a variable, a start is as it was."""
    with capture_logs() as logs:
        async with exporting("status", grace_seconds=1, environment={}):
            assert not tracing.is_on()
    assert not logs
