"""What a scrape shows of the streams to the status service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from sender_service.reporting.relay_queue import Acknowledged


class ReportingMeter:
    """What result streams count; several share one.

    Args:
        registry: where the metrics are registered; absent: one that nobody shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._connected = Gauge(
            "closeout_reporting_streams_connected",
            "Streams of results that the status service answers; 0: it answers none.",
            registry=registry,
        )
        self._time = Gauge(
            "closeout_last_acknowledgement_timestamp_seconds",
            "When the status service acknowledged results last; 0: not in this process.",
            registry=registry,
        )
        self._frames = Counter(
            "closeout_acknowledged_frames",
            "Frames that the status service acknowledged.",
            registry=registry,
        )
        self._rejected = Counter(
            "closeout_rejected_frames",
            "Campaigns of which the status service began to reject results.",
            registry=registry,
        )
        self._breaks = Counter(
            "closeout_reporting_stream_breaks",
            "Streams that broke, or could not be opened.",
            registry=registry,
        )

    def connected(self) -> None:
        """Count a stream that was answered for the first time."""
        self._connected.inc()

    def ended(self, *, was_connected: bool) -> None:
        """Note that a stream is over; ``was_connected`` if it had been answered."""
        if was_connected:
            self._connected.dec()

    def broken(self) -> None:
        """Count a stream that nobody here ended."""
        self._breaks.inc()

    def acknowledged(self, news: Acknowledged) -> None:
        """Count what an answer acknowledges."""
        if news.frames:
            self._frames.inc(news.frames)
            self._time.set(time.time())
        if news.rejected:
            self._rejected.inc(len(news.rejected))
