"""Spans of what a service does, by the API of OpenTelemetry alone.

Tracing is off until :func:`use` gives it a provider: :mod:`.trace_export` does so at the
start. While it is off nothing is wrapped, and no span is made. A span has no key, no
recipient, no content and no statement of SQL: docs/tracing.md lists what it has.
"""

from __future__ import annotations

import importlib.metadata
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service_runtime.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import grpc
    import sqlalchemy as sa
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

T = TypeVar("T")

#: Whom a call acts for.
ORGANISATION = "closeout.organisation"
#: The campaign that something is about.
CAMPAIGN_ID = "closeout.campaign_id"
#: What a failure is called: a reason of docs/errors.md, or the class of an exception.
ERROR_TYPE = "error.type"
#: The W3C headers that carry the context of a trace.
TRACE_HEADERS = ("traceparent", "tracestate")
#: Codes of gRPC that are failures of who answers; any other is an answer.
SERVER_FAULTS = frozenset(
    {"DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN"}
)
#: An id is never longer; what is longer is none, and is not copied into a span.
_LONGEST_ID = 128
#: A span with more links is of no use, and costs.
_MOST_LINKS = 32
_PROPAGATOR = TraceContextTextMapPropagator()


class _Using:
    """What makes spans now; None: nothing does."""

    tracer: Tracer | None = None


@contextmanager
def use(provider: TracerProvider) -> Iterator[None]:
    """Make spans with ``provider`` while the block runs; servers that are made in it do."""
    before = _Using.tracer
    _Using.tracer = provider.get_tracer("closeout", importlib.metadata.version("closeout-server"))
    try:
        yield
    finally:
        _Using.tracer = before


def is_on() -> bool:
    """Return whether spans are made."""
    return _Using.tracer is not None


def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> AbstractContextManager[Span]:
    """Return a block that is a span, and the current one of what it does.

    An exception ends it; what it says of that is :func:`failed`'s business.

    Args:
        name: few names in all: no id, no address.
        kind: whether it answers, asks, or neither.
        parent: what :func:`received` returned; None: the current span.
        attributes: what is known at its begin.
    """
    tracer = _Using.tracer
    if tracer is None:
        return nullcontext(trace.INVALID_SPAN)
    return tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=attributes,
        # Their messages, and stacks, may have what no span may have.
        record_exception=False,
        set_status_on_exception=False,
    )


def received(headers: Iterable[tuple[str, str | bytes]]) -> Context:
    """Return the context that a caller sent in ``traceparent``; an empty one if it did not."""
    carrier = {name: value for name, value in headers if name in TRACE_HEADERS}
    return _PROPAGATOR.extract(carrier, context=otel_context.Context())


def note(**attributes: str) -> None:
    """Add what the span that goes on is about, as ``organisation="..."``, if there is one."""
    if _Using.tracer is not None:
        current = trace.get_current_span()
        for name, value in attributes.items():
            current.set_attribute(f"closeout.{name}", value)


def note_request(request: Any) -> None:
    """Add which campaign a request is about, if it is about one."""
    if _Using.tracer is None:
        return
    campaign_id = getattr(request, "campaign_id", "")
    if campaign_id and len(campaign_id) <= _LONGEST_ID:
        note(campaign_id=campaign_id)


def note_error(error: ServiceError) -> None:
    """Add why a call is refused; its status says the code."""
    if _Using.tracer is not None:
        trace.get_current_span().set_attribute(ERROR_TYPE, error.reason)


def failed(of: Span, error: BaseException) -> None:
    """Record an error by its name alone: its text may quote what a statement had.

    A :class:`ServiceError` that only refuses is an answer, and no failed span.
    """
    if isinstance(error, ServiceError):
        of.set_attribute(ERROR_TYPE, error.reason)
        if error.code.name not in SERVER_FAULTS:
            return
    else:
        kind = type(error)
        of.set_attribute(ERROR_TYPE, f"{kind.__module__}.{kind.__qualname__}")
        original = getattr(error, "orig", None)
        code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
        if code:
            of.set_attribute("db.response.status_code", str(code))
    of.set_status(Status(StatusCode.ERROR))


def end_call(of: Span, code: grpc.StatusCode, *, faults: Iterable[str] = SERVER_FAULTS) -> None:
    """Record how a call of gRPC ended.

    Args:
        of: its span.
        code: what it ended with.
        faults: the codes that make it a failed span.
    """
    of.set_attribute("rpc.grpc.status_code", code.value[0])
    if code.name in faults:
        of.set_status(Status(StatusCode.ERROR, code.name))


def call_attributes(method: str) -> dict[str, str]:
    """Return the attributes of a call of ``/SERVICE/METHOD``."""
    _, service, name = method.split("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


@dataclass(frozen=True, slots=True)
class Traced(Generic[T]):
    """The work of a transaction that says more about itself.

    Attributes:
        work: what is done in the transaction.
        attributes: of the span of the transaction.
        origins: the spans that the work came from.
    """

    work: Callable[[sa.Connection], T]
    attributes: Mapping[str, int]
    origins: tuple[SpanContext, ...]

    def __call__(self, connection: sa.Connection) -> T:
        """Do the work."""
        return self.work(connection)


def origin() -> SpanContext | None:
    """Return the span that goes on, for a span elsewhere that does its work later."""
    if _Using.tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


def traced(
    work: Callable[[sa.Connection], T],
    origins: Iterable[SpanContext | None],
    measure: Callable[[], Mapping[str, int]],
) -> Callable[[sa.Connection], T]:
    """Return ``work`` with links to where it comes from, for the span of its transaction.

    Args:
        work: what is done in the transaction.
        origins: what :func:`origin` returned there.
        measure: how much work it is, by name; called where tracing is on.
    """
    if _Using.tracer is None:
        return work
    links = {found.span_id: found for found in origins if found is not None}
    named = {f"closeout.{name}": value for name, value in measure().items()}
    return Traced(work, named, tuple(links.values())[:_MOST_LINKS])


def transaction(
    run: Callable[[], T], work: Callable[..., T], *, system: str, writes: bool
) -> Callable[[], T]:
    """Return ``run`` as a span, which has the name of the function that it runs.

    The span begins now, with the wait for a thread, and ends when the transaction does,
    whatever becomes of who waits for it. A read that belongs to no call has none: a
    service looks into its database all the time.

    Args:
        run: the transaction.
        work: what is done in it.
        system: ``sqlite`` or ``postgresql``.
        writes: whether it may write.
    """
    tracer = _Using.tracer
    if tracer is None:
        return run
    if not writes and not trace.get_current_span().get_span_context().is_valid:
        return run
    more: Mapping[str, int] = {}
    links: list[Link] = []
    if isinstance(work, Traced):
        more, links = work.attributes, [Link(context) for context in work.origins]
        work = work.work
    name = operation(work)
    begun = tracer.start_span(
        name,
        kind=SpanKind.CLIENT,
        links=links,
        attributes={"db.system.name": system, "db.operation.name": name, **more},
    )
    submitted = time.perf_counter()

    def spanned() -> T:
        begun.set_attribute("closeout.wait_seconds", time.perf_counter() - submitted)
        try:
            return run()
        except BaseException as error:
            failed(begun, error)
            raise
        finally:
            begun.end()

    return spanned


def operation(work: Callable[..., Any]) -> str:
    """Return what the work of a transaction is called, as in ``ledger.record``.

    A function inside another one has the name of the outer one.
    """
    while isinstance(work, partial):
        work = work.func
    qualified = getattr(work, "__qualname__", type(work).__qualname__)
    module = str(getattr(work, "__module__", "")).rpartition(".")[2]
    return f"{module}.{qualified.partition('.<locals>')[0]}"
