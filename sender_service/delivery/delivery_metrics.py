"""What a scrape shows of the delivery: messages, tries, providers, campaigns, leases."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sender_service.delivery.circuit_breaker import Breaker
from sender_service.delivery.tally import Tally
from sender_service.domain import Outcome
from sender_service.store import progress
from sender_service.verdicts import Answer
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from sender_service.campaigns.directory import Directory
    from sender_service.delivery.shared_provider import SharedProvider
    from sender_service.delivery.supervisor import Supervisor
    from service_runtime.database import Store

log = structlog.get_logger()

#: What is read from the store is read again after so long, at most once a scrape, seconds.
_KEEP_SECONDS = 3.0


class DeliveryMetrics(Collector):
    """Collects what delivery keeps anyway; nothing is counted twice for it.

    Args:
        store: the sender's.
        directory: the campaigns at work.
        supervisor: has the providers.
        channels: the names of all channels, so that each is shown from the start, at 0.
        registry: where it is registered.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        supervisor: Supervisor,
        channels: Collection[str],
        registry: CollectorRegistry,
    ) -> None:
        self._store = store
        self._directory = directory
        self._supervisor = supervisor
        self._channels = sorted(channels)
        self._read_time = float("-inf")
        self._backlog = progress.Backlog(0, 0.0, 0)
        registry.register(self)

    async def refresh(self) -> None:
        """Read the store again if that is long ago; while it fails, the numbers stay."""
        now = time.monotonic()
        if now - self._read_time < _KEEP_SECONDS:
            return
        self._read_time = now
        try:
            self._backlog = await self._store.read(progress.read_backlog)
        except StoreUnavailableError as error:
            log.debug("delivery_metrics_old", error=error.message)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        known = {shared.channel.name: shared for shared in self._supervisor.shared_providers}
        providers = {name: known.get(name) for name in {*self._channels, *known}}
        yield from _of_messages(
            {name: shared.tally if shared else Tally() for name, shared in providers.items()}
        )
        yield from _of_providers(providers)
        yield _gauge("closeout_campaigns_at_work", "Campaigns at work.", len(list(self._directory)))
        yield _gauge(
            "closeout_campaigns_held",
            "Campaigns at work that are not sent, since the status service does not answer.",
            sum(len(self._directory.of(held)) for held in self._directory.status_problems.held),
        )
        yield _gauge(
            "closeout_leases",
            "Shards that are leased: parts of campaigns that are sent now.",
            self._backlog.leased,
        )
        yield _gauge(
            "closeout_unreported_results",
            "Results in the journal that the status service has not acknowledged.",
            self._backlog.unreported,
        )
        yield _gauge(
            "closeout_oldest_unreported_seconds",
            "How old the oldest of them is; 0 if there is none.",
            self._backlog.oldest_seconds,
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _of_messages(tallies: dict[str, Tally]) -> Iterable[Metric]:
    messages = CounterMetricFamily(
        "closeout_messages",
        "Messages that got their outcome, by channel.",
        labels=["channel", "outcome"],
    )
    attempts = CounterMetricFamily(
        "closeout_attempts",
        "Tries to hand a message over, by channel and what the answer means.",
        labels=["channel", "answer"],
    )
    in_flight = GaugeMetricFamily(
        "closeout_messages_in_flight", "Messages that are handed over now.", labels=["channel"]
    )
    requeued = CounterMetricFamily(
        "closeout_requeued_messages",
        "Messages put back without a try that counts.",
        labels=["channel"],
    )
    for name, tally in sorted(tallies.items()):
        for outcome in Outcome:
            messages.add_metric([name, outcome.name.lower()], tally.outcomes[outcome])
        for answer in Answer:
            attempts.add_metric([name, answer.value], tally.answers[answer])
        in_flight.add_metric([name], tally.in_flight)
        requeued.add_metric([name], tally.requeued)
    return messages, attempts, in_flight, requeued


def _of_providers(providers: dict[str, SharedProvider | None]) -> Iterable[Metric]:
    states = GaugeMetricFamily(
        "closeout_breaker_state",
        "1 for the state that the circuit breaker of a channel has.",
        labels=["channel", "state"],
    )
    available = GaugeMetricFamily(
        "closeout_provider_available",
        "0 from the failure of a provider to the next message that it takes.",
        labels=["channel"],
    )
    opened = CounterMetricFamily(
        "closeout_breaker_openings",
        "How often the circuit breaker of a channel opened.",
        labels=["channel"],
    )
    for name, shared in sorted(providers.items()):
        breaker = None if shared is None else shared.breaker
        # A channel that nothing uses yet has no breaker, and nothing against its provider.
        current = Breaker.HALF_OPEN if breaker is None else breaker.state
        for state in Breaker:
            states.add_metric([name, state.value], float(state is current))
        available.add_metric([name], float(breaker is None or breaker.fault is None))
        opened.add_metric([name], 0 if breaker is None else breaker.failures)
    return states, available, opened
