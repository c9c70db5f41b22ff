"""Counts what is committed: once for a commit, never for a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from status_service.domain import Cause, Diagnosis, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from status_service.domain import Counters
    from status_service.recording.types import Frame, Recorded

_OUTCOMES = ("sent", "failed", "skipped", "unknown")
#: Bounds of the time that a commit takes, seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter:
    """What the write path counts.

    Args:
        registry: where the metrics are registered; absent: one that nobody shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._registry = registry
        self._results = _counter(
            registry, "closeout_results_recorded", "Results stored.", "outcome", _OUTCOMES
        )
        self._late = Counter(
            "closeout_late_results",
            "Results of COMPLETED campaigns that replaced a worse one.",
            registry=registry,
        )
        self._repeated = Counter(
            "closeout_repeated_results",
            "Results that were stored before: nothing changed.",
            registry=registry,
        )
        self._commits = Histogram(
            "closeout_commit_seconds",
            "How long a transaction with results took, with its repetitions.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._failed_commits = Counter(
            "closeout_failed_commits",
            "Transactions with results that the database did not take; they are repeated.",
            registry=registry,
        )
        self._changes = _counter(
            registry,
            "closeout_campaign_state_changes",
            "Campaigns that this instance brought into a state.",
            "state",
            [state.value for state in State],
        )
        self._completions = _counter(
            registry,
            "closeout_completions",
            "Campaigns that this instance completed, by cause.",
            "cause",
            [cause.value for cause in Cause],
        )
        self._repairs = _counter(
            registry,
            "closeout_repairs",
            "Campaigns repaired: 0 in a healthy system.",
            "diagnosis",
            [found.value for found in Diagnosis if found.is_defect],
        )

    def committed(self, frames: Sequence[Frame], recorded: Recorded, seconds: float) -> None:
        """Count a transaction."""
        for counters in recorded.stored:
            self._count(counters)
        receipts = recorded.receipts
        if repeated := sum(receipt.duplicate for receipt in receipts):
            self._repeated.inc(repeated)
        if recorded.late:
            late = {change.key for change in recorded.late}
            pairs = zip(frames, receipts, strict=True)
            self._late.inc(sum(receipt.raised for frame, receipt in pairs if frame.key in late))
        self._commits.observe(seconds)

    def _count(self, counters: Counters) -> None:
        for outcome in _OUTCOMES:
            if number := getattr(counters, outcome):
                self._results.labels(outcome).inc(number)

    def commit_failed(self) -> None:
        """Count a transaction that the database did not take."""
        self._failed_commits.inc()

    def changed(self, state: State, cause: Cause) -> None:
        """Count a campaign that came into a state."""
        self._changes.labels(state.value).inc()
        if state is State.COMPLETED:
            self._completions.labels(cause.value).inc()

    def repaired(self, diagnosis: Diagnosis) -> None:
        """Count a repair."""
        self._repairs.labels(diagnosis.value).inc()

    def watch_queue(self, waiting: Callable[[], int], limit: int) -> None:
        """Show how many frames wait to be written, and how many may."""
        Gauge(
            "closeout_queue_frames",
            "Frames that wait to be written; one of more than 500 results counts as several.",
            registry=self._registry,
        ).set_function(lambda: float(waiting()))
        Gauge(
            "closeout_queue_frames_limit",
            "As many frames may wait, and one of each stream beyond that; then senders wait.",
            registry=self._registry,
        ).set(limit)


def _counter(
    registry: CollectorRegistry, name: str, text: str, label: str, values: Sequence[str]
) -> Counter:
    """Return a counter of which each value of the label exists from the start, at 0."""
    made = Counter(name, text, [label], registry=registry)
    for value in values:
        made.labels(value)
    return made
