"""What a scrape shows of the delivery before anything was read, and between two reads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from sender_service.campaigns.directory import Directory
from sender_service.delivery import delivery_metrics
from sender_service.delivery.circuit_breaker import Breaker
from sender_service.delivery.delivery_metrics import DeliveryMetrics
from sender_service.store.progress import Backlog
from service_runtime.errors import StoreUnavailableError

_OF_STORE = (
    "closeout_unreported_results",
    "closeout_oldest_unreported_seconds",
    "closeout_leases",
)


class Store:
    """A store that answers when the test says what, and counts how often it is asked."""

    def __init__(self) -> None:
        self.backlog: Backlog | None = None
        self.asked = 0

    async def read(self, _work: Any) -> Backlog:
        """Return the backlog.

        Raises:
            StoreUnavailableError: there is none.
        """
        self.asked += 1
        if self.backlog is None:
            raise StoreUnavailableError("gone")
        return self.backlog


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(store: Store, registry: CollectorRegistry) -> DeliveryMetrics:
    """The metrics of a sender with a channel that nothing has used yet."""
    supervisor = cast("Any", SimpleNamespace(shared_providers=[]))
    directory = Directory(cast("Any", None))
    return DeliveryMetrics(cast("Any", store), directory, supervisor, ["smtp"], registry)


def of_store(registry: CollectorRegistry) -> list[float | None]:
    """Return what is shown of the store."""
    return [registry.get_sample_value(name) for name in _OF_STORE]


@pytest.mark.usefixtures("metrics")
def test_nothing_is_shown_of_a_store_that_was_not_read(registry: CollectorRegistry) -> None:
    """All is 0, as it is where nothing waits."""
    assert of_store(registry) == [0.0, 0.0, 0.0]
    assert registry.get_sample_value("closeout_campaigns_at_work") == 0.0
    assert registry.get_sample_value("closeout_campaigns_held") == 0.0


@pytest.mark.usefixtures("metrics")
def test_a_channel_that_nothing_uses_has_nothing_against_its_provider(
    registry: CollectorRegistry,
) -> None:
    """It is shown from the start, at 0, and its provider is about to be tried."""
    channel = {"channel": "smtp"}
    assert registry.get_sample_value("closeout_provider_available", channel) == 1.0
    assert registry.get_sample_value("closeout_breaker_openings_total", channel) == 0.0
    assert registry.get_sample_value("closeout_messages_in_flight", channel) == 0.0
    states = {
        state: registry.get_sample_value("closeout_breaker_state", channel | {"state": state.value})
        for state in Breaker
    }
    assert states == {Breaker.CLOSED: 0.0, Breaker.OPEN: 0.0, Breaker.HALF_OPEN: 1.0}


async def test_the_numbers_stay_while_the_store_fails(
    metrics: DeliveryMetrics,
    store: Store,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that were read last."""
    monkeypatch.setattr(delivery_metrics, "_KEEP_SECONDS", 0.0)
    store.backlog = Backlog(7, 2.5, 3)
    await metrics.refresh()
    assert of_store(registry) == [7.0, 2.5, 3.0]
    store.backlog = None
    await metrics.refresh()
    assert of_store(registry) == [7.0, 2.5, 3.0]
    assert store.asked == 2


async def test_scrapes_that_follow_closely_read_once(
    metrics: DeliveryMetrics, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and whether the store answered or not."""
    monkeypatch.setattr(delivery_metrics, "_KEEP_SECONDS", 3_600.0)
    for _ in range(3):
        await metrics.refresh()
    assert store.asked == 1
