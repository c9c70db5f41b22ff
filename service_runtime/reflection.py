"""Server reflection, v1 and v1alpha, that can describe methods.

grpcio-reflection serves v1alpha only and answers "not found" for the symbol of a
method, which ``grpcurl describe`` requests; its descriptor pool knows services and
messages. Both versions of the protocol are the same on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import _async as reflection_async
from grpc_reflection.v1alpha import reflection_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

_METHOD = "ServerReflectionInfo"
_ALPHA = "grpc.reflection.v1alpha.ServerReflection"
_NAMES = ("grpc.reflection.v1.ServerReflection", _ALPHA)
#: The full names of the methods of reflection.
REFLECTION_METHODS = tuple(f"/{name}/{_METHOD}" for name in _NAMES)


class _Servicer(reflection_async.ReflectionServicer):  # type: ignore[misc]
    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        found = super()._file_containing_symbol(request, fully_qualified_name)
        owner = fully_qualified_name.rpartition(".")[0]
        if found.HasField("error_response") and owner:
            return super()._file_containing_symbol(request, owner)
        return found


def methods_of(services: Iterable[str]) -> list[str]:
    """Return the full names of all methods of ``services``, as in ``/package.Service/Method``."""
    pool = descriptor_pool.Default()
    return [
        f"/{service}/{method.name}"
        for service in services
        for method in pool.FindServiceByName(service).methods
    ]


def streams_of(services: Iterable[str]) -> list[tuple[str, bool, bool]]:
    """Return the full names of all methods, and whether their requests and answers stream."""
    pool = descriptor_pool.Default()
    return [
        (f"/{service}/{method.name}", method.client_streaming, method.server_streaming)
        for service in services
        for method in pool.FindServiceByName(service).methods
    ]


def add_reflection(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Register reflection of ``services``.

    Of the two versions only v1alpha is listed, because only its descriptor is in the
    pool and ``grpcurl describe`` requests everything that is listed.
    """
    servicer = _Servicer([*services, _ALPHA])
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in _NAMES)
    )
