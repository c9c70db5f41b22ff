"""The context of a trace goes with every call, where the application uses OpenTelemetry.

This package does not require OpenTelemetry, and does not import it: where nobody else
has, no span goes on. No interceptor is used, since those of gRPC break ``write()``.
"""

from __future__ import annotations

import sys
from typing import Any

#: The module without which no span can go on.
_API = "opentelemetry.trace"


def with_trace_context(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a call, with ``traceparent`` in its metadata if a span goes on.

    Args:
        options: what the call is made with; not changed.
    """
    if _API not in sys.modules:
        return options
    from opentelemetry import trace  # noqa: PLC0415 - see the module

    if not trace.get_current_span().get_span_context().is_valid:
        return options
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return {**options, "metadata": (*options.get("metadata", ()), *carrier.items())}
