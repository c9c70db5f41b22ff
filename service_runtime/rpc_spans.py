"""A span for each call of a gRPC server: unary calls, and streams as long as they are open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.trace import SpanKind

from service_runtime import tracing
from service_runtime.rpc_metrics import code_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


class RpcSpans(grpc.aio.ServerInterceptor):
    """An interceptor that makes spans; the first of a server's, so that it sees every refusal.

    The span of a caller that sends ``traceparent`` is the parent.

    Args:
        methods: the full names of those that get spans. Health checks and reflection get
            none: supervisors ask all the time.
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self._methods = {method: tracing.call_attributes(method) for method in methods}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        attributes = self._methods.get(handler_call_details.method)
        if handler is None or attributes is None:
            return handler
        name = f"{'stream' if handler.request_streaming else 'unary'}_" + (
            "stream" if handler.response_streaming else "unary"
        )
        factory: Any = getattr(grpc, f"{name}_rpc_method_handler")
        spanned: grpc.RpcMethodHandler[Any, Any] = factory(
            _spanned(getattr(handler, name), attributes),
            handler.request_deserializer,
            handler.response_serializer,
        )
        return spanned


def _spanned(behaviour: Any, attributes: dict[str, str]) -> Any:
    name = f"{attributes['rpc.service']}/{attributes['rpc.method']}"

    async def called(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        parent = tracing.received(context.invocation_metadata() or ())
        with tracing.span(name, kind=SpanKind.SERVER, parent=parent, attributes=attributes) as span:
            code = grpc.StatusCode.UNKNOWN
            try:
                answer = await behaviour(request, context)
                code = code_of(context)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.AbortError:
                code = code_of(context)
                raise
            else:
                return answer
            finally:
                tracing.end_call(span, code)

    return called
