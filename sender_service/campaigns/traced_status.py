"""The client of the status service, with a span for each call that is no stream."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import SpanKind, Status, StatusCode

from closeout.aio import StatusClient
from closeout.errors import ClientError
from service_runtime import tracing

_REQUEST = "Request"


class TracedStatusClient(StatusClient):
    """A client whose calls are spans of kind client, where tracing is on.

    The client itself sends the context of the span that goes on. The stream of results has
    no span of its own here: it serves all campaigns, for as long as the sender runs.
    """

    async def _call(self, method: Any, request: Any, timeout_seconds: float | None) -> Any:
        if not tracing.is_on():
            return await super()._call(method, request, timeout_seconds)
        # A request has the name of its method: buf lint says so.
        service = f"{request.DESCRIPTOR.file.package}.StatusService"
        name = request.DESCRIPTOR.name.removesuffix(_REQUEST)
        attributes = tracing.call_attributes(f"/{service}/{name}")
        with tracing.span(f"{service}/{name}", kind=SpanKind.CLIENT, attributes=attributes) as span:
            tracing.note_request(request)
            try:
                response = await super()._call(method, request, timeout_seconds)
            except ClientError as error:
                span.set_attribute("rpc.grpc.status_code", error.code.value[0])
                span.set_attribute(tracing.ERROR_TYPE, error.reason or error.code.name)
                span.set_status(Status(StatusCode.ERROR, error.code.name))
                raise
            span.set_attribute("rpc.grpc.status_code", 0)
            return response
