"""Counts what is deleted, removed and erased."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

_WHAT = ("results", "events", "campaign")


class RetentionMeter:
    """What retention counts.

    Args:
        registry: where the metrics are registered; absent: one that nobody shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._deleted = Counter(
            "closeout_campaigns_deleted", "Campaigns that callers deleted.", registry=registry
        )
        self._removed = Counter(
            "closeout_removed_rows",
            "Rows removed: results and events kept no longer, and all of deleted campaigns.",
            ["what"],
            registry=registry,
        )
        for what in _WHAT:
            self._removed.labels(what)
        self._erased = Counter(
            "closeout_erased_results",
            "Results that an address was erased from.",
            registry=registry,
        )

    def deleted(self) -> None:
        """Count a campaign that was deleted."""
        self._deleted.inc()

    def removed(self, what: str, rows: int) -> None:
        """Count rows that a transaction removed."""
        self._removed.labels(what).inc(rows)

    def erased(self, results: int) -> None:
        """Count results that an address was erased from."""
        self._erased.inc(results)
