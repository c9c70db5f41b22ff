"""Counts the calls of a gRPC server, under the names of go-grpc-prometheus.

Dashboards and rules made for those names fit. All label sets of the methods that are
served are in the first scrape, at 0, so that the first call of a kind is an increase. The
first scrape makes them, not the start: that takes as long as the rest of a start.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

#: The codes as go-grpc-prometheus writes them.
_CODES = {
    code: "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")
    for code in grpc.StatusCode
} | {grpc.StatusCode.CANCELLED: "Canceled"}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_TYPES = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}
_LABELS = ("grpc_type", "grpc_service", "grpc_method")
#: Bounds of the time that a call takes, seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Method:
    """The counters of one method."""

    def __init__(self, metrics: RpcMetrics, labels: tuple[str, str, str]) -> None:
        self.started = metrics.started.labels(*labels)
        self.received = metrics.received.labels(*labels)
        self.sent = metrics.sent.labels(*labels)
        self.seconds = metrics.seconds.labels(*labels)
        self.open = metrics.open.labels(*labels)
        self.handled = {
            code: metrics.handled.labels(*labels, name) for code, name in _CODES.items()
        }


class RpcMetrics(grpc.aio.ServerInterceptor):
    """An interceptor that counts; the first of a server's, so that it sees every refusal.

    Calls of methods that the server does not have are not counted: their names are the
    caller's.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(_BeforeScrapes(self._complete))  # first, so collected first
        self.started = Counter("grpc_server_started", "Calls begun.", _LABELS, registry=registry)
        self.handled = Counter(
            "grpc_server_handled", "Calls ended.", (*_LABELS, "grpc_code"), registry=registry
        )
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", _LABELS, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", _LABELS, registry=registry)
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "How long calls took; of streams, how long they were open.",
            _LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )
        self.open = Gauge(
            "closeout_open_calls",
            "Calls that are answered now: of streams, how many are open.",
            _LABELS,
            registry=registry,
        )
        self._labels: dict[str, tuple[str, str, str]] = {}
        self._methods: dict[str, _Method] = {}

    def prepare(self, methods: Iterable[tuple[str, bool, bool]]) -> None:
        """Count these methods: full name, and whether requests and answers stream."""
        for name, *streams in methods:
            _, service, method = name.split("/")
            self._labels[name] = (_TYPES[streams[0], streams[1]], service, method)

    def _complete(self) -> None:
        """Make the counters of all methods."""
        for name in self._labels:
            self._counters(name)

    def _counters(self, name: str) -> _Method | None:
        """Return the counters of a method; None: it is not one of the server's."""
        if name not in self._labels:
            return None
        # A scrape may make the same in another thread; prometheus_client keeps them one.
        if name not in self._methods:
            self._methods[name] = _Method(self, self._labels[name])
        return self._methods[name]

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = self._counters(handler_call_details.method)
        if handler is None or method is None:
            return handler
        name = f"{'stream' if handler.request_streaming else 'unary'}_" + (
            "stream" if handler.response_streaming else "unary"
        )
        factory: Any = getattr(grpc, f"{name}_rpc_method_handler")
        counted: grpc.RpcMethodHandler[Any, Any] = factory(
            _counted(getattr(handler, name), method),
            _each(handler.request_deserializer, method.received),
            _each(handler.response_serializer, method.sent),
        )
        return counted


class _BeforeScrapes(Collector):
    """Has no metrics; lets others make theirs."""

    def __init__(self, complete: Callable[[], None]) -> None:
        self._complete = complete

    def collect(self) -> Iterable[Metric]:
        """Return none."""
        self._complete()
        return ()


def _counted(behaviour: Any, method: _Method) -> Any:
    async def called(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        method.started.inc()
        method.open.inc()
        begin = time.perf_counter()
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
            method.open.dec()
            method.seconds.observe(time.perf_counter() - begin)
            method.handled[code].inc()

    return called


def code_of(context: grpc.aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    """Return the code that a call ended with; gRPC gives a number, or a name."""
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return _BY_NUMBER.get(code or 0, grpc.StatusCode.UNKNOWN)


def _each(convert: Any, counter: Counter) -> Any:
    """Return a serializer or deserializer that counts what it converts."""

    def counting(message: Any) -> Any:
        counter.inc()
        return convert(message) if convert else message

    return counting
