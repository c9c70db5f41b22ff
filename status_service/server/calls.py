"""What a status service answers: the calls of gRPC, and the same calls and pages over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from closeout.status.v1 import (
    access_pb2,
    access_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
)
from service_runtime.grpc_server import Server
from service_runtime.http_app import application
from service_runtime.http_spans import observed
from service_runtime.operations_routes import health_routes, metrics_route
from status_service.access.key_service import KeyService
from status_service.access.scopes import SCOPES
from status_service.dashboard import sender_link
from status_service.dashboard.gate import lost_page
from status_service.dashboard.opening import open_board
from status_service.dashboard.routes import routes as dashboard_routes
from status_service.events.service import EventService
from status_service.grpc_api.access_servicer import AccessServicer
from status_service.grpc_api.event_servicer import EventServicer
from status_service.grpc_api.servicer import StatusServicer
from status_service.http_api.openapi import openapi_routes
from status_service.http_api.rules import packaged_rules
from status_service.http_api.transcoder import transcoded
from status_service.live.campaign_gauges import CampaignGauges
from status_service.recording.batch import BatchRecorder
from status_service.retention.service import RetentionService

if TYPE_CHECKING:
    import grpc
    from starlette.types import ASGIApp

    from service_runtime.readiness import Readiness
    from status_service.dashboard.visit import Board
    from status_service.server.parts import Parts

#: The full names of the services of its contract.
SERVICES = (
    status_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name,
    access_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name,
    events_pb2.DESCRIPTOR.services_by_name["EventService"].full_name,
)


@dataclass(frozen=True, slots=True)
class Servicers:
    """The servicers of the contract, which HTTP calls as gRPC does."""

    status: StatusServicer
    access: AccessServicer
    events: EventServicer

    def register(self, server: grpc.aio.Server) -> None:
        """Let a server of gRPC answer with them."""
        status_pb2_grpc.add_StatusServiceServicer_to_server(self.status, server)
        access_pb2_grpc.add_AccessServiceServicer_to_server(self.access, server)
        events_pb2_grpc.add_EventServiceServicer_to_server(self.events, server)


def servicers(parts: Parts) -> Servicers:
    """Return the servicers on the parts of a service."""
    store, status = parts.store, parts.status
    return Servicers(
        StatusServicer(
            parts.service,
            parts.views,
            parts.writer_pool,
            BatchRecorder(store, parts.writer_pool, parts.stopping),
            parts.notifier,
            looks=parts.looks,
            retention=RetentionService(store, parts.retention_meter),
            generation=parts.generation,
            stopping=parts.stopping,
        ),
        AccessServicer(parts.access, KeyService(store, parts.access), parts.delegations),
        EventServicer(
            EventService(
                store,
                stall_threshold=parts.threshold,
                allow_private=status.webhooks_allow_private,
            )
        ),
    )


def grpc_server(parts: Parts, served: Servicers) -> Server:
    """Return the server of gRPC, which is not started."""
    return Server(
        SERVICES,
        served.register,
        access=parts.counted,
        scopes=SCOPES,
        metrics=parts.metrics.rpc,
        # With one instance there is nowhere else to go.
        connection_age_seconds=(
            parts.status.connection_age_seconds if parts.store.listen else None
        ),
        recheck_seconds=parts.limits.recheck_seconds,
        limits=parts.peers,
    )


def dashboard(parts: Parts) -> Board:
    """Return the pages."""
    return open_board(
        parts.status,
        service=parts.service,
        views=parts.views,
        store=parts.store,
        access=parts.counted,
        keys=parts.access,
        sender=sender_link.to_sender(parts.status, parts.delegations),
        stopping=parts.stopping,
    )


def http_application(
    parts: Parts, served: Servicers, board: Board, readiness: Readiness
) -> ASGIApp:
    """Return what HTTP serves: health, metrics, the calls of the contract, pages."""
    gauges = CampaignGauges(parts.store, parts.metrics.registry, stall_threshold=parts.threshold)
    routes = [
        *health_routes(readiness),
        metrics_route(parts.metrics, parts.counted, parts.status, refresh=gauges.refresh),
        *transcoded(
            packaged_rules(),
            dict(zip(SERVICES, (served.status, served.access, served.events), strict=True)),
            access=parts.counted,
            scopes=SCOPES,
            recheck_seconds=parts.limits.recheck_seconds,
            limits=parts.peers,
        ),
        *openapi_routes(),
        *dashboard_routes(board),
    ]
    return observed(application(routes, lost=lost_page(board)), parts.metrics.http)
