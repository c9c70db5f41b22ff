"""Spans in the memory of the test, by the SDK of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from integration.status_support import eventually
from service_runtime import tracing

STATUS = "closeout.status.v1.StatusService"
SENDER = "closeout.sender.v1.SenderService"


class Traces:
    """The spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        #: What an application that calls a service makes its spans with.
        self.application: Tracer = self.provider.get_tracer("application")  # type: ignore[assignment]

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        """All of them, in the order of their ends."""
        return self._exporter.get_finished_spans()

    def named(self, name: str, kind: str = "") -> list[ReadableSpan]:
        """Return those with a name, and of a kind if one is given."""
        return [one for one in self.ended if one.name == name and kind in {"", one.kind.name}]

    async def one(
        self,
        name: str,
        kind: str = "",
        *,
        where: Callable[[ReadableSpan], bool] = lambda _: True,
    ) -> ReadableSpan:
        """Wait for a span with a name; return the first one."""

        async def look() -> bool:
            return any(where(one) for one in self.named(name, kind))

        names = [one.name for one in self.ended]
        await eventually(look, what=f"a span {name} {kind} beside {names}")
        return next(one for one in self.named(name, kind) if where(one))

    def below(self, span: ReadableSpan) -> list[ReadableSpan]:
        """Return the children of a span."""
        return [one for one in self.ended if one.parent and one.parent.span_id == id_of(span)]

    def text(self) -> str:
        """Return everything that is exported of all spans."""
        return "\n".join(one.to_json() for one in self.ended)


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    assert span.context is not None
    return span.context.span_id


def trace_of(span: ReadableSpan) -> int:
    """Return the id of the trace that a span belongs to."""
    assert span.context is not None
    return span.context.trace_id


@contextmanager
def tracing_on() -> Iterator[Traces]:
    """Trace while the block runs: services that begin in it."""
    traces = Traces()
    with tracing.use(traces.provider):
        yield traces
    traces.provider.shutdown()
