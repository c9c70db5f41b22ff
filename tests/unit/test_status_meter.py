"""What the write path counts: each result, commit and change once, and all from 0."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from status_service.domain import Cause, Counters, Diagnosis, State
from status_service.recording.meter import Meter
from status_service.recording.types import CampaignKey, FrameReceipt, Recorded

_MILLISECONDS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
_A, _B = CampaignKey("default", "a"), CampaignKey("default", "b")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def meter(registry: CollectorRegistry) -> Meter:
    return Meter(registry)


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return a number as a scrape shows it."""
    return registry.get_sample_value(f"closeout_{name}", labels)


def by_label(registry: CollectorRegistry, name: str) -> dict[str, float]:
    """Return the numbers of a metric by its label."""
    return {
        next(iter(sample.labels.values())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"closeout_{name}"
    }


@pytest.mark.usefixtures("meter")
def test_all_is_shown_from_the_start(registry: CollectorRegistry) -> None:
    """At 0, so that the first one counts as an increase."""
    assert by_label(registry, "results_recorded_total") == dict.fromkeys(
        ("sent", "failed", "skipped", "unknown"), 0.0
    )
    assert by_label(registry, "campaign_state_changes_total") == dict.fromkeys(State, 0.0)
    assert by_label(registry, "completions_total") == dict.fromkeys(Cause, 0.0)
    assert by_label(registry, "repairs_total") == {
        Diagnosis.FULLY_PROCESSED: 0.0,
        Diagnosis.COUNTER_DRIFT: 0.0,
    }


@pytest.mark.usefixtures("meter")
def test_the_bounds_of_a_commit_are_those_of_the_documents(registry: CollectorRegistry) -> None:
    """Dashboards and alerts name them."""
    bounds = [float(bound) for bound in by_label(registry, "commit_seconds_bucket")]
    assert bounds == [*(bound / 1_000 for bound in _MILLISECONDS), float("inf")]


def test_a_commit_counts_what_it_stored(registry: CollectorRegistry, meter: Meter) -> None:
    """By outcome; repeated results, and those that were late, beside it."""
    frames: list[Any] = [SimpleNamespace(key=key) for key in (_A, _B, _A)]
    receipts = [
        FrameReceipt(new=4, raised=1, duplicate=2),
        FrameReceipt(new=3, raised=5),
        FrameReceipt(raised=2, duplicate=1),
    ]
    late: list[Any] = [SimpleNamespace(key=_A)]
    stored = [Counters(sent=4, failed=1), Counters(sent=2, unknown=3)]
    meter.committed(frames, Recorded(receipts, late=late, stored=stored), 0.02)
    assert by_label(registry, "results_recorded_total") == {
        "sent": 6.0,
        "failed": 1.0,
        "skipped": 0.0,
        "unknown": 3.0,
    }
    assert counted(registry, "repeated_results_total") == 3.0
    assert counted(registry, "late_results_total") == 3.0
    assert counted(registry, "commit_seconds_count") == 1.0
    assert counted(registry, "commit_seconds_sum") == 0.02
    meter.committed(frames[:1], Recorded([FrameReceipt(new=1)], stored=[Counters(sent=1)]), 0.01)
    assert counted(registry, "results_recorded_total", outcome="sent") == 7.0
    assert counted(registry, "repeated_results_total") == 3.0
    assert counted(registry, "late_results_total") == 3.0
    assert counted(registry, "failed_commits_total") == 0.0
    meter.commit_failed()
    assert counted(registry, "failed_commits_total") == 1.0


def test_changes_of_state_are_counted_by_where_they_lead(
    registry: CollectorRegistry, meter: Meter
) -> None:
    """A completion by its cause as well; a repair by what it found."""
    meter.changed(State.PAUSED, Cause.USER)
    meter.changed(State.COMPLETED, Cause.RESULT)
    meter.repaired(Diagnosis.COUNTER_DRIFT)
    found = by_label(registry, "campaign_state_changes_total")
    assert {state for state, number in found.items() if number} == {"PAUSED", "COMPLETED"}
    found = by_label(registry, "completions_total")
    assert {cause for cause, number in found.items() if number} == {Cause.RESULT}
    found = by_label(registry, "repairs_total")
    assert {diagnosis for diagnosis, number in found.items() if number} == {"COUNTER_DRIFT"}


def test_a_queue_is_shown_as_it_is_now(registry: CollectorRegistry, meter: Meter) -> None:
    """With how many may wait."""
    waiting = [3]
    meter.watch_queue(lambda: waiting[0], 40)
    assert counted(registry, "queue_frames") == 3.0
    waiting[0] = 5
    assert counted(registry, "queue_frames") == 5.0
    assert counted(registry, "queue_frames_limit") == 40.0
