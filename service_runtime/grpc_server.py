"""The gRPC server both services run: limits, error mapping, health, reflection.

Sources of the settings: docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from service_runtime import port_holder, tracing
from service_runtime.access import OPEN, check_table
from service_runtime.access_interceptor import RECHECK_SECONDS, AccessCheck
from service_runtime.call_limits import CallLimits
from service_runtime.errors import ServiceError, StartupError
from service_runtime.grpc_requests import missing, reading, refusing
from service_runtime.health import VersionedHealth
from service_runtime.places import is_listen_address
from service_runtime.reflection import REFLECTION_METHODS, add_reflection, methods_of, streams_of
from service_runtime.rpc_spans import RpcSpans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from service_runtime.access import Access
    from service_runtime.access_interceptor import Scopes
    from service_runtime.rpc_metrics import RpcMetrics

log = structlog.get_logger()

#: Largest message taken or sent, bytes.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

#: Streams and calls of one connection that gRPC itself takes; more wait at the client.
_MOST_OF_CONNECTION = 2_000

#: Calls that nobody has begun to answer. gRPC refuses more by itself, as CANCELLED and with
#: no reason; Closeout's clients try again. Whoever calls waits behind all of them.
_MOST_PENDING = 100
#: New calls that are taken of one connection before it is the turn of another.
_CALLS_OF_A_READ = 4
#: How long a connection, with or without TLS, may take until it is one.
_HANDSHAKE_SECONDS = 10
#: How long calls may go on on a connection that has come of age, seconds.
_LAST_CALLS_SECONDS = 10
#: How long after a failed write the cancellation of its call may come, seconds.
_CANCELLATION_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """The pings of connections on which nothing else happens.

    Attributes:
        client_interval_seconds: the least time between two pings of a client. A client
            that pings more often loses its connection, and the calls on it, at the
            third such ping.
        ping_seconds: the server pings a connection that was silent for so long.
        timeout_seconds: a connection is closed when a ping has no answer for so long.
    """

    client_interval_seconds: float = 10.0
    ping_seconds: float = 30.0
    timeout_seconds: float = 10.0


#: What clients are promised.
KEEPALIVE = Keepalive()


def server_options(
    *, keepalive: Keepalive = KEEPALIVE, connection_age_seconds: float | None = None
) -> list[tuple[str, int]]:
    """Return the options of a server, as gRPC names them; it ignores names it does not know.

    Args:
        keepalive: the pings.
        connection_age_seconds: about how long a connection lives; None: without limit.
    """
    options = [
        # Two servers on one port would each get a part of the calls, silently.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_concurrent_streams", _MOST_OF_CONNECTION),
        # Who opens calls faster than they are answered is refused in the end.
        ("grpc.server.max_pending_requests", _MOST_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MOST_PENDING),
        ("grpc.http2.max_requests_per_read", _CALLS_OF_A_READ),
        # What is taken of a call that nobody reads stays at the 64 KiB of HTTP/2; gRPC would
        # raise it with the speed of its client, for each call, to tens of MiB.
        ("grpc.http2.bdp_probe", 0),
        # A connection that does not become one.
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_SECONDS * 1_000),
        # By default a client may ping every 5 minutes only, and an idle stream is cut.
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            round(keepalive.client_interval_seconds * 1_000),
        ),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", round(keepalive.ping_seconds * 1_000)),
        ("grpc.keepalive_timeout_ms", round(keepalive.timeout_seconds * 1_000)),
    ]
    if connection_age_seconds is not None:
        options += [
            ("grpc.max_connection_age_ms", round(connection_age_seconds * 1_000)),
            ("grpc.max_connection_age_grace_ms", _LAST_CALLS_SECONDS * 1_000),
        ]
    return options


class _ResponseTooLargeError(Exception):
    """A handler writes a response that can't be sent: a defect."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns what a handler raises into a status with details.

    A :class:`ServiceError` becomes its own status. Anything else is a defect: the
    caller gets INTERNAL with an error id, the log gets the id and the stack.

    Args:
        check: what a call has to pass first.
        limits: bound the requests that are held at once.
    """

    def __init__(self, check: AccessCheck, limits: CallLimits) -> None:
        self._check = check
        self._limits = limits

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            refuse = self._wrap(missing(method, self._limits), method)
            return grpc.stream_unary_rpc_method_handler(refuse)
        answers = "stream" if handler.response_streaming else "unary"
        asks = "stream" if handler.request_streaming else "unary"
        behaviour = getattr(handler, f"{asks}_{answers}")
        if inspect.isasyncgenfunction(behaviour):
            behaviour = _writing(behaviour)
        deserialize = refusing(handler.request_deserializer)
        if not handler.request_streaming:
            behaviour, deserialize = reading(behaviour, deserialize, self._limits), None
        lasting = handler.request_streaming or handler.response_streaming
        guarded = self._check.guard(
            behaviour, method, lasting=lasting, sending=handler.request_streaming
        )
        wrapped = self._wrap(guarded, method)
        serialize = handler.response_serializer
        if handler.response_streaming:
            serialize = _bounded(serialize)
        # Of a stream, gRPC reads a request when it is asked to: so nobody unknown makes this
        # service hold one. Those who call see no difference.
        factory: Any = getattr(grpc, f"stream_{answers}_rpc_method_handler")
        wrapped_handler: grpc.RpcMethodHandler[Any, Any] = factory(wrapped, deserialize, serialize)
        return wrapped_handler

    def _wrap(self, behaviour: Any, method: str) -> Any:
        async def answered(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - mapped, logged, sent
                if isinstance(error, grpc.aio.InternalError):
                    await _let_caller_go()
                await _abort(error, context, method)

        return answered


def _writing(generate: Any) -> Any:
    """Return a handler that writes what a generator yields.

    gRPC would write it outside of what is wrapped, and log a failure as its error.
    """

    async def write(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async with aclosing(generate(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write


def _bounded(serialize: Any) -> Any:
    """Return a serializer of a stream that refuses what is too large to be sent.

    gRPC would cancel the call, as if its caller had hung up.
    """

    def serialized(response: Any) -> bytes:
        data: bytes = serialize(response) if serialize else response
        if len(data) > MAX_MESSAGE_BYTES:
            raise _ResponseTooLargeError(f"{len(data)} bytes are more than {MAX_MESSAGE_BYTES}")
        return data

    return serialized


async def _let_caller_go() -> None:
    """Wait until gRPC knows that the caller of this call is gone, if that is so.

    A write that waits for a caller who hangs up fails a moment before gRPC cancels the
    call, here. A failure of a write that no cancellation follows is a defect.
    """
    await asyncio.sleep(_CANCELLATION_SECONDS)


async def _abort(
    error: Exception, context: grpc.aio.ServicerContext[Any, Any], method: str
) -> None:
    if not isinstance(error, ServiceError):
        error_id = uuid.uuid4().hex
        log.error("call_failed", method=method, error_id=error_id, exc_info=error)
        error = ServiceError(
            f"internal error {error_id}; the log of the service has the details",
            metadata={"error_id": error_id},
        )
    tracing.note_error(error)
    try:
        await context.abort_with_status(rpc_status.to_status(error.to_status()))
    except grpc.aio.InternalError:
        await _let_caller_go()
        raise  # gRPC logs it, unless the caller is gone


class Server:
    """A gRPC server with health and reflection, not yet listening.

    Args:
        services: full names of the services, as in ``closeout.status.v1.StatusService``.
        register: adds the servicers.
        access: knows callers.
        scopes: what each method of the services needs; health and reflection are open.
        connection_age_seconds: a connection is closed about so long after it was made,
            so that its client's calls spread over all instances again; None: never.
        keepalive: the pings of idle connections.
        metrics: counts the calls; None: nobody does.
        recheck_seconds: how often a stream asks whether its caller is still one.
        limits: what callers may have at once; None: limits of its own.

    Attributes:
        draining: True once the server is going away.
    """

    def __init__(
        self,
        services: Iterable[str],
        register: Callable[[grpc.aio.Server], None],
        *,
        access: Access,
        scopes: Scopes,
        connection_age_seconds: float | None = None,
        keepalive: Keepalive = KEEPALIVE,
        metrics: RpcMetrics | None = None,
        recheck_seconds: float = RECHECK_SECONDS,
        limits: CallLimits | None = None,
    ) -> None:
        limits = limits or CallLimits()
        self.draining = False
        self._services = list(services)
        self._health = VersionedHealth()
        check_table(scopes, methods_of(self._services))
        opened = (*methods_of([health.SERVICE_NAME]), *REFLECTION_METHODS)
        check = AccessCheck(
            access,
            {**scopes, **dict.fromkeys(opened, OPEN)},
            recheck_seconds=recheck_seconds,
            limits=limits,
        )
        options = server_options(keepalive=keepalive, connection_age_seconds=connection_age_seconds)
        interceptors: list[grpc.aio.ServerInterceptor] = [ErrorInterceptor(check, limits)]
        if metrics is not None:
            metrics.prepare(streams_of([*self._services, health.SERVICE_NAME]))
            interceptors.insert(0, metrics)
        if tracing.is_on():
            interceptors.insert(0, RpcSpans(methods_of(self._services)))
        self._server = grpc.aio.server(interceptors=interceptors, options=options)
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection([*self._services, health.SERVICE_NAME], self._server)

    async def start(self, address: str, *, tls: grpc.ServerCredentials | None = None) -> int:
        """Listen and serve; return the port.

        Health says NOT_SERVING until :meth:`set_serving`.

        Args:
            address: HOST:PORT.
            tls: the credentials of the port; None: it is a plain one.

        Raises:
            StartupError: the address can't be listened on; the text says who holds it.
        """
        await self.set_serving(serving=False)
        if not is_listen_address(address):
            raise StartupError(f"can't listen on {address!r}: expected HOST:PORT")
        # In a thread: a port that a connection has just now is waited for.
        if obstacle := await asyncio.to_thread(port_holder.obstacle, address):
            raise StartupError(obstacle)
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, tls)
        except RuntimeError as error:
            raise StartupError(port_holder.describe(address)) from error
        await self._server.start()
        return int(port)

    async def set_serving(self, *, serving: bool) -> None:
        """Tell health checks whether calls can be answered now."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        for name in ["", *self._services]:
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def drain(self) -> None:
        """Tell health checks, for good, that this server is going away."""
        self.draining = True
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end within ``grace_seconds``, cut the rest."""
        await self._server.stop(grace_seconds)
