"""Health checks whose answer names the version of the service."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from grpc_health.v1 import health

if TYPE_CHECKING:
    import grpc
    from grpc_health.v1 import health_pb2

#: The initial metadata of the answer to Check.
VERSION_KEY = "closeout-version"
_DISTRIBUTION = "closeout-server"


class VersionedHealth(health.aio.HealthServicer):  # type: ignore[misc] # has no types
    """The usual health service; the initial metadata of Check has ``closeout-version``."""

    def __init__(self) -> None:
        super().__init__()
        self._version = importlib.metadata.version(_DISTRIBUTION)

    async def Check(  # noqa: N802 - named by the protocol
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ],
    ) -> health_pb2.HealthCheckResponse:
        """Answer whether a service serves, and in which version."""
        await context.send_initial_metadata(((VERSION_KEY, self._version),))
        return await super().Check(request, context)
