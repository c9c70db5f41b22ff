"""What a scrape shows of the open campaigns before anything was read, and between two reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from service_runtime.errors import StoreUnavailableError
from status_service.domain import State
from status_service.live import campaign_gauges
from status_service.live.campaign_gauges import CampaignGauges, Standings

_NUMBERS = (
    "closeout_longest_standing_seconds",
    "closeout_campaigns_stalled",
    "closeout_campaigns_need_attention",
)


class Store:
    """A database that answers when the test says what, and counts how often it is asked."""

    def __init__(self) -> None:
        self.standings: Standings | None = None
        self.asked = 0

    async def read(self, _work: Any) -> Standings:
        """Return how the campaigns stand.

        Raises:
            StoreUnavailableError: the test has not said it.
        """
        self.asked += 1
        if self.standings is None:
            raise StoreUnavailableError("gone")
        return self.standings


def shown(registry: CollectorRegistry) -> tuple[list[float | None], dict[State, float | None]]:
    """Return the numbers that are shown, and how many campaigns of each state."""
    states = {
        state: registry.get_sample_value("closeout_campaigns", {"state": state.value})
        for state in State
    }
    return [registry.get_sample_value(name) for name in _NUMBERS], states


async def test_the_numbers_are_those_read_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is 0 before; a state that no campaign has any more is 0 again; a failure changes none."""
    monkeypatch.setattr(campaign_gauges, "_KEEP_SECONDS", 0.0)
    store, registry = Store(), CollectorRegistry()
    gauges = CampaignGauges(cast("Any", store), registry, stall_threshold=timedelta(minutes=5))
    await gauges.refresh()
    none = dict.fromkeys((State.SCHEDULED, State.SENDING, State.PAUSED), 0.0)
    never = dict.fromkeys((State.DRAFT, State.COMPLETED, State.CANCELLED))
    assert shown(registry) == ([0.0, 0.0, 0.0], none | never)
    store.standings = Standings({"SENDING": 4, "PAUSED": 1}, 12.5, 2, 3)
    await gauges.refresh()
    read = ([12.5, 2.0, 3.0], none | never | {State.SENDING: 4.0, State.PAUSED: 1.0})
    assert shown(registry) == read
    store.standings = None
    await gauges.refresh()
    assert shown(registry) == read
    store.standings = Standings({}, 0.0, 0, 0)
    await gauges.refresh()
    assert shown(registry) == ([0.0, 0.0, 0.0], none | never)
    assert store.asked == 4


async def test_scrapes_that_follow_closely_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and whether the database answered or not."""
    monkeypatch.setattr(campaign_gauges, "_KEEP_SECONDS", 3_600.0)
    store, registry = Store(), CollectorRegistry()
    gauges = CampaignGauges(cast("Any", store), registry, stall_threshold=timedelta(minutes=5))
    for _ in range(3):
        await gauges.refresh()
    assert store.asked == 1
