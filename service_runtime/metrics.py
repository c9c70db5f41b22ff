"""The metrics of one service in a process, for Prometheus.

Each service has a registry of its own, since tests run several in one process. No label
has a value that a caller chooses: no campaign, organisation, person, key or host.
docs/metrics.md lists all names.
"""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service_runtime.errors import ServiceError
from service_runtime.http_metrics import HttpMetrics
from service_runtime.rpc_metrics import RpcMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from prometheus_client.core import Metric

    from service_runtime.access import Access, Credentials
    from service_runtime.caller import Caller
    from service_runtime.database import Store
    from service_runtime.readiness import Readiness

# Else each counter has a second series with the time of its creation, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call] # has no types

#: What a scrape is answered as.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Why a key is refused, before anything of the call is looked at.
REFUSALS = (
    "KEY_MISSING",
    "KEY_MALFORMED",
    "KEY_INVALID",
    "KEY_EXPIRED",
    "KEY_REVOKED",
    "SCOPE_MISSING",
    "TOO_MANY_ATTEMPTS",
    "OTHER",
)
_DISTRIBUTION = "closeout-server"
#: Answers to a caller that is not let in, by the name of their code.
_NOT_LET_IN = {"UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"}


class ServiceMetrics:
    """What both services count.

    Args:
        service: ``status`` or ``sender``.

    Attributes:
        registry: where everything of this service is registered.
        rpc: the calls of gRPC.
        http: the requests of HTTP.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.rpc = RpcMetrics(self.registry)
        self.http = HttpMetrics(self.registry)
        Gauge(
            "closeout_build_info",
            "Always 1; the labels say what runs.",
            ["service", "version", "python"],
            registry=self.registry,
        ).labels(service, importlib.metadata.version(_DISTRIBUTION), platform.python_version()).set(
            1
        )
        self._refused = Counter(
            "closeout_keys_refused",
            "Calls refused for their key, by reason.",
            ["reason"],
            registry=self.registry,
        )
        for reason in REFUSALS:
            self._refused.labels(reason)
        self._certificate = _CertificateEnd()
        self.registry.register(self._certificate)

    def watch(self, store: Store, readiness: Readiness) -> None:
        """Show whether the database answers, and whether the service is ready."""
        Gauge(
            "closeout_store_up", "1 while the database answers writes.", registry=self.registry
        ).set_function(lambda: float(store.answering))
        Gauge(
            "closeout_ready", "1 while /readyz answers 200.", registry=self.registry
        ).set_function(lambda: float(not readiness.missing))

    def watch_certificate(self, end: Callable[[], datetime | None]) -> None:
        """Show when the certificate ends; None: there is none."""
        self._certificate.end = end

    def counting(self, access: Access) -> Access:
        """Return ``access``, with its refusals counted."""
        return _CountingAccess(access, self._count_refusal)

    def _count_refusal(self, error: ServiceError) -> None:
        if error.code.name in _NOT_LET_IN:
            self._refused.labels(error.reason if error.reason in REFUSALS else "OTHER").inc()

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class _CountingAccess:
    """Counts whom another access refuses."""

    def __init__(self, access: Access, refused: Callable[[ServiceError], None]) -> None:
        self._access = access
        self._refused = refused

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller.

        Raises:
            ServiceError: as the other access raises it.
        """
        try:
            return await self._access.authenticate(credentials)
        except ServiceError as error:
            self._refused(error)
            raise


class _CertificateEnd(Collector):
    """When the certificate of a service ends; no sample while it has none."""

    def __init__(self) -> None:
        self.end: Callable[[], datetime | None] = lambda: None

    def collect(self) -> Iterable[Metric]:
        """Return the one metric."""
        found = GaugeMetricFamily(
            "closeout_certificate_end_timestamp_seconds",
            "When the certificate of the service ends; absent without TLS.",
        )
        end = self.end()
        if end is not None:
            found.add_metric([], end.timestamp())
        yield found
